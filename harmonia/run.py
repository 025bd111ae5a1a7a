"""The command line: python -m harmonia.run [-m] source=... method=... (see conf/ for every key)."""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from harmonia.refusal import refusal


def conf_folder() -> Path:
    """conf/ lies inside the package in a wheel and beside it in a checkout."""
    package = Path(__file__).parent
    shipped = package / "conf"
    return shipped if (shipped / "config.yaml").is_file() else package.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(config: DictConfig) -> None:
    # torch takes seconds to import: --help and --cfg must not pay for it
    from harmonia import pipeline

    pipeline.run(config)


def main() -> int:
    """0: done; 2: the user can mend it, in one line; 1: anything else, with its traceback."""
    # Hydra would print its own errors in several lines and end with 1; so they come here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        job()
    except Exception as error:
        line = refusal(error, conf_folder())
        if line is None:
            raise
        print(f"harmonia: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("harmonia: interrupted; the same command resumes, finished shards are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
