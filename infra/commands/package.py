"""Package both Lambda apps into dist/ and check that the zips are what Lambda needs."""

import argparse
import shutil

from infra import ROOT
from infra.aws import packages
from infra.aws.installation import APPS, Installation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--write-config",
        action="store_true",
        help="renew the committed .chalice/config.json of both apps and stop",
    )


def run(args: argparse.Namespace) -> int:
    installation = Installation()
    for app in APPS.values():
        if args.write_config:
            packages.write_config(app, installation, app.folder)
            continue
        project = ROOT / "dist" / app.name
        zip_file = packages.build(app, installation, project)
        final = project.with_name(f"{app.name}.zip")
        shutil.copyfile(zip_file, final)
        print(f"{final.relative_to(ROOT)}: {final.stat().st_size / 1e6:.1f} MB")
    return 0
