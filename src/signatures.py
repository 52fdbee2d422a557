"""What a class can be called with, arguments that it passes on to its base included."""

from __future__ import annotations

import inspect


def merged_signature(cls: type) -> inspect.Signature:
    """A class's own arguments and, where it passes others on as ``**arguments``, those of its base; keywords only."""
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    named = [p for p in own if p.kind is not p.VAR_KEYWORD]
    inherited = inspect.signature(cls.__mro__[1]).parameters.values() if len(named) < len(own) else ()
    named += [p for p in inherited if p.name not in {q.name for q in named}]
    return inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in named])
