"""`python -m infra COMMAND`: everything an operator does, one module a command."""

import argparse
import importlib
import os
import sys

from cloudping.errors import CloudPingError

COMMANDS = {
    "ping": "infra.commands.ping",
    "local": "infra.local.command",
    "local-pair": "infra.local.pair",
    "pair": "infra.commands.pair",
    "package": "infra.commands.package",
    "deploy": "infra.commands.deploy",
    "status": "infra.commands.status",
    "verify": "infra.commands.verify",
    "destroy": "infra.commands.destroy",
    "cost": "infra.commands.cost",
    "backfill": "infra.commands.backfill",
    "import": "infra.commands.import_",
    "recover": "infra.commands.recover",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0 when it did what was asked, 1 when not, 2 for a wrong call."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m infra", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Only the chosen command is imported, so that `ping` does not wait for numpy.
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, module_name in COMMANDS.items():
        if chosen in (None, name) or chosen not in COMMANDS:
            module = importlib.import_module(module_name)
            summary = (module.__doc__ or "").strip().splitlines()[0]
            command = commands.add_parser(name, help=summary, description=module.__doc__)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args = parser.parse_args(words)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except CloudPingError as error:
        print(f"infra {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads, e.g. head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"\ninfra {args.command}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not _is_aws(error):
            raise
        print(f"infra {args.command}: {error}", file=sys.stderr)
        return 1


def _is_aws(error: Exception) -> bool:
    """True for what botocore raises: no credentials, no rights, no answer. No fault of ours."""
    if "botocore" not in sys.modules:  # `ping` needs none
        return False
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, BotoCoreError | ClientError)


if __name__ == "__main__":
    sys.exit(main())
