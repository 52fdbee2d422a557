"""A process that compiles the time loops gives the bits of one that loads them: else the first run of a day differs."""

import os
import subprocess
import sys

import pytest

RUNS = {
    "one neuron": """
import numpy as np
from neurotwin.biophysics.declaration import load_neuron
from neurotwin.biophysics.simulate import follow
neuron = load_neuron("hippocampal")
n, current = len(neuron.theta), 8 + 20 * np.sin(np.arange(501) * 0.02 / 3)
run = follow(neuron, neuron.theta, current, 0.02, -65.0, current, np.full(501, 0.3), columns=np.arange(n), states=True)
made = [run.voltage, run.states, run.jacobian]
""",
    "batch of neurons": """
import numpy as np, torch
from neurotwin.biophysics.declaration import load_neuron
from neurotwin.biophysics.simulate import simulate
neuron = load_neuron("hippocampal")
theta = torch.tensor(np.tile(neuron.theta, (70, 1)), dtype=torch.float32)
current = torch.tensor(8 + 20 * np.sin(np.arange(501) * 0.02 / 3), dtype=torch.float32).expand(70, -1)
made = [simulate(neuron, theta, current, 0.02, -65.0).numpy()]
""",
    "circuit": """
import torch
from neurotwin.models.rmm import RMM
torch.manual_seed(0)
model = RMM(2, 10_000.0, backend="compiled")
v, x = torch.randn(70, 2) - 50, torch.randn(70, sum(model.hidden_sizes))
out, _ = model.rollout(v, x, torch.randn(70, 50, 2), torch.randn(70, 50, 2) - 50, 0.1)
out.square().mean().backward()
made = [out.detach().numpy(), *(p.grad.numpy() for p in model.parameters() if p.grad is not None)]
""",
}
HASH = "import hashlib; print(hashlib.sha256(b''.join(m.tobytes() for m in made)).hexdigest())"


@pytest.mark.parametrize("name", RUNS)
def test_compiled_and_loaded_loops_agree_to_the_bit(name, tmp_path):
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", RUNS[name] + HASH]
    compiled, loaded = (
        subprocess.run(command, env=settings, capture_output=True, encoding="utf-8", check=True).stdout
        for _ in range(2)
    )
    assert any(tmp_path.iterdir()), "nothing was kept, so nothing was loaded"
    assert compiled == loaded
