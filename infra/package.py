"""Package both Lambda apps into dist/ and check that the zips are what Lambda needs."""

import argparse
import shutil

from infra import chalice_app


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--write-config",
        action="store_true",
        help="renew the committed .chalice/config.json of both apps and stop",
    )


def run(args: argparse.Namespace) -> int:
    installation = chalice_app.Installation()
    for app in chalice_app.APPS.values():
        if args.write_config:
            chalice_app.write_config(app, installation, app.folder)
            continue
        project = chalice_app.ROOT / "dist" / app.name
        zip_file = chalice_app.build(app, installation, project)
        final = project.with_name(f"{app.name}.zip")
        shutil.copyfile(zip_file, final)
        print(f"{final.relative_to(chalice_app.ROOT)}: {final.stat().st_size / 1e6:.1f} MB")
    return 0
