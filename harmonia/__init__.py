"""Do the image regions that explain one network's prediction carry it in another network?

For notebooks and scripts: classifier, explain, transfer and fit (docs/python.md). The command line is harmonia.run.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmonia.api import classifier, explain, fit, transfer

__all__ = ["classifier", "explain", "fit", "transfer"]


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        """harmonia.fit stays the function: whoever imports the command's module would put that in its place."""
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: the commands' --help must not pay for it
    if name in __all__:
        import random
        import warnings

        drawn = random.getstate()  # Lightning draws when it is imported
        with warnings.catch_warnings():  # tqdm's, of libraries that import it in a notebook without ipywidgets
            warnings.filterwarnings("ignore", "IProgress not found")
            from harmonia import api
        random.setstate(drawn)

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
