"""``braintumor subject``: erase a person."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict

import click

from braintumor.cli.show import as_json, print_json
from braintumor.config.airflow_connections import settings_of


@click.group()
def subject() -> None:
    """A person whose images were scored, known by a pseudonym."""


@subject.command(epilog="Example: braintumor subject find --json < number.txt")
@as_json
def find(is_json: bool) -> None:
    """Print the pseudonym of a patient number, as DICOM's PatientID has it, and how many scans are stored under it.

    The number is asked for without an echo, or read from standard input; it is kept nowhere. Whoever came in a PNG,
    JPEG or NIfTI has no pseudonym and is not found by this.
    """
    from braintumor.erasure import find_subject

    given = click.prompt("Patient number", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    found = find_subject(settings_of("scorer"), given)
    if is_json:
        print_json(asdict(found))
    else:
        click.echo(f"{found.pseudonym}: {found.count_scan} scans")


@subject.command(epilog="Example: braintumor subject erase 3f2a9c0d4b5e6f708192a3b4c5d6e7f8 --objects")
@click.argument("pseudonym", metavar="PSEUDONYM")
@click.option("--reason", default="asked for by the person", show_default=True, help="Why; it stays. Name nobody.")
@click.option("--objects", "with_objects", is_flag=True, help="Also delete the images themselves from S3.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@as_json
def erase(pseudonym: str, reason: str, with_objects: bool, is_sure: bool, is_json: bool) -> None:
    """Erase the patient of a PSEUDONYM (`find`): rows, pages with an image, snapshots' images. It cannot be undone.

    What stays is a tombstone without identity, and marks by which a later file of the person is rejected. The images'
    addresses are printed. Without --objects they are kept until `braintumor subject objects` finds that the images are
    gone. Connect as a login of the role braintumor_eraser.
    """
    from braintumor.erasure import erase as erase_subject

    if not is_sure:
        click.confirm("Erase everything of this person? It cannot be undone", abort=True, err=True)
    settings = settings_of("eraser")
    done = erase_subject(settings, pseudonym, actor=getpass.getuser(), reason=reason, with_objects=with_objects)
    if is_json:
        print_json(asdict(done))
        return
    total = ", ".join(f"{count} {table}" for table, count in done.counts.items() if count)
    click.echo(f"erasure {done.erasure_id}: {total}; {len(done.removed)} pages and pictures")
    if done.snapshot_ids:
        click.echo(f"models trained on these snapshots are not unlearned: {', '.join(done.snapshot_ids)}")
    verb = "deleted" if done.are_objects_deleted else "still there, delete it, with its versions and copies"
    for uri in done.object_uris:
        click.echo(f"{verb}: {uri}")


@subject.command(epilog="Example: braintumor subject objects --delete")
@click.option("--delete", "is_delete", is_flag=True, help="Delete these objects from S3.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@as_json
def objects(is_delete: bool, is_sure: bool, is_json: bool) -> None:
    """List the objects of erased people that are still in S3. The addresses of those that are gone are forgotten.

    An object that was overwritten after the erasure is not the person's any more, and is left alone. Connect as a login
    of the role braintumor_eraser.
    """
    from braintumor.erasure import erased_objects

    if is_delete and not is_sure:
        click.confirm("Delete every object of erased people that is still there?", abort=True, err=True)
    found = erased_objects(settings_of("eraser"), delete=is_delete)
    if is_json:
        print_json(asdict(found))
        return
    for uri in found.left:
        click.echo(f"still there, delete it, with its versions and copies: {uri}")
    click.echo(f"{len(found.left)} objects are still there, {found.count_gone} are gone")
