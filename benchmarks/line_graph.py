"""Training step of a line-graph network, factorised against PyG on the materialised line graph, in one process.

One person, a dense connectome, three layers 1-64-64-1, forward, backward and Adam, one thread. Both sides have the same
weights, and their outputs are compared before anything is timed. Time is that of the process on the CPU, which other
jobs on the machine do not inflate as they do wall time; memory is the growth of the resident set in a forked child
that does one step. PyG is given both of its ways: an edge list (gather and scatter) and a CSR matrix.

    python benchmarks/line_graph.py [--sizes 84 116 200] [--alone 400 600 1000] [--output line_graph.json] [--draw]

The figure beside the JSON shows both over the number of regions; ``--draw`` only draws it anew.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import time
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib.figure import Figure
from neurotwin.models.edge_gnn import LineGNN
from neurotwin.models.line_graph import DenseEdges, SparseEdges
from neurotwin.provenance import cpu_name
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, SAGEConv
from torch_geometric.transforms import LineGraph
from torch_geometric.utils import to_torch_csr_tensor

WIDTHS = [1, 64, 64, 1]


class Materialised(torch.nn.Module):
    """PyG's layers with the weights of ``network``."""

    def __init__(self, kind, network, neighbours):
        super().__init__()
        layer = {"sage": SAGEConv, "gcn": GCNConv}[kind]
        self.layers = torch.nn.ModuleList(layer(a, b) for a, b in pairwise(WIDTHS))
        for theirs, ours in zip(self.layers, network.convolutions, strict=True):
            theirs.load_state_dict(ours.state_dict())
        self.neighbours = neighbours

    def forward(self, x):
        """Features of the line graph's nodes, ``(edge, 1)``."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x, self.neighbours))
        return self.layers[-1](x, self.neighbours)


def line_graph(n):
    """PyG's line graph of the complete graph, and the seconds that building it takes."""
    index = torch.triu_indices(n, n, 1)
    data = Data(edge_index=torch.cat([index, index.flip(0)], 1), num_nodes=n)
    data.edge_attr = torch.zeros(data.num_edges, 1)
    started = time.process_time()
    edges = LineGraph()(data).edge_index
    return edges, time.process_time() - started


def cases(kind, n, materialise):
    """Name to a network and a function that applies it to a random connectome; the same weights everywhere."""
    torch.manual_seed(0)
    network = LineGNN(n, kind, WIDTHS[1:-1])
    index = torch.triu_indices(n, n, 1)
    dense = torch.tanh(torch.randn(1, n, n, 1) / 2)
    dense = (dense + dense.transpose(1, 2)) / 2
    listed = dense[0, index[0], index[1]]
    found = {
        "factorised, edge list": (network, lambda: network.propagate(listed, SparseEdges(index, n))),
        "factorised, dense": (network, lambda: network.propagate(dense, DenseEdges(n))[0, index[0], index[1]]),
    }
    seconds = None
    if materialise:
        edges, seconds = line_graph(n)
        theirs = Materialised(kind, network, edges)
        found["PyG, edge list"] = (theirs, lambda: theirs(listed))
        matrix = Materialised(kind, network, to_torch_csr_tensor(edges, size=(len(listed), len(listed))))
        found["PyG, CSR matrix"] = (matrix, lambda: matrix(listed))
    return found, seconds


def step(network, forward, optimizer):
    """Forward, backward, Adam."""
    optimizer.zero_grad()
    forward().square().mean().backward()
    optimizer.step()


def seconds_per_step(network, forward, budget_s=3.0, most=30):
    """Median CPU seconds of steps after one for warming up, for about ``budget_s`` or at least two."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    step(network, forward, optimizer)
    times = []
    while len(times) < 2 or (sum(times) < budget_s and len(times) < most):
        started = time.process_time()
        step(network, forward, optimizer)
        times.append(time.process_time() - started)
    return sorted(times)[len(times) // 2], len(times)


def peak_megabytes(network, forward):
    """Growth of the resident set over one step, in a forked child that first gives free memory back (Linux only)."""

    def child(pipe):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew, man 5 proc
        before = status("VmRSS")
        step(network, forward, torch.optim.Adam(network.parameters(), 1e-4))
        pipe.send((status("VmHWM") - before) / 1024)

    receiver, sender = multiprocessing.Pipe(False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(sender,))
    process.start()
    grown = receiver.recv() if receiver.poll(600) else None
    process.join()
    return grown


def status(field):
    """A line of /proc/self/status, kB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(kind, n, materialise):
    """Rows of one network at one size."""
    found, build_s = cases(kind, n, materialise)
    with torch.no_grad():
        outputs = {name: forward() for name, (_, forward) in found.items()}
    reference = outputs["factorised, edge list"]
    rows = []
    for name, (network, forward) in found.items():
        seconds, steps = seconds_per_step(network, forward)
        row = {"network": kind, "regions": n, "how": name, "cpu_s_per_step": round(seconds, 5), "steps": steps}
        row["peak_mb"] = round(peak_megabytes(network, forward), 1)
        row["largest_difference"] = float((outputs[name] - reference).abs().max())
        if name.startswith("PyG"):
            row["line_graph_build_cpu_s"] = round(build_s, 2)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def draw(record, path):
    """CPU time and memory of a training step over the number of regions, both axes logarithmic."""
    colours = {
        "factorised, edge list": "C0",
        "factorised, dense": "C2",
        "PyG, edge list": "C3",
        "PyG, CSR matrix": "C1",
    }
    sizes = sorted({row["regions"] for row in record["rows"]})
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = {"cpu_s_per_step": "CPU time of a training step, s", "peak_mb": "memory of a training step, MB"}
    for axes, (key, label) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for how, colour in colours.items():
            for kind, line in (("sage", "o-"), ("gcn", "s--")):
                points = [r for r in record["rows"] if r["how"] == how and r["network"] == kind and r[key] is not None]
                x, y = [r["regions"] for r in points], [r[key] for r in points]
                axes.plot(x, y, line, color=colour, markersize=4, linewidth=1.2, label=f"{how}, {kind.upper()}")
        known = [r for r in record["rows"] if r["how"] == "factorised, dense" and r["network"] == "sage"]
        last = max(known, key=lambda row: row["regions"])
        guide = [last[key] * (n / last["regions"]) ** 2 for n in sizes]
        axes.plot(sizes, guide, color="0.6", linewidth=0.8, label="grows as regions squared", zorder=0)
        axes.set(xscale="log", yscale="log", xlabel="regions", title=label)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)
    layers = "-".join(map(str, record["setting"]["layers"]))
    figure.suptitle(f"Line-graph network, layers {layers}, one person, complete graph, one thread", fontsize=10)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[84, 116, 200], help="regions, both sides")
    parser.add_argument("--alone", type=int, nargs="*", default=[400, 600, 1000], help="regions, factorised only")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "line_graph.json")
    parser.add_argument("--draw", action="store_true", help="only draw the figure from the JSON")
    options = parser.parse_args()
    picture = options.output.with_suffix(".png")
    if options.draw:
        draw(json.loads(options.output.read_text()), picture)
        return
    torch.set_num_threads(1)
    sizes = [(n, True) for n in options.sizes] + [(n, False) for n in options.alone]
    rows = [row for n, both in sizes for kind in ("sage", "gcn") for row in measure(kind, n, both)]
    setting = {"layers": WIDTHS, "people": 1, "threads": 1, "device": cpu_name(), "cores": os.cpu_count()}
    setting["torch"] = torch.__version__
    record = {"setting": setting, "rows": rows}
    options.output.write_text(json.dumps(record, indent=2) + "\n")
    draw(record, picture)


if __name__ == "__main__":
    main()
