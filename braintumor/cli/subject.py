"""Define the command ``braintumor subject``: find and erase a patient."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict

import click

from braintumor.cli.show import as_json, print_json
from braintumor.config.airflow_connections import settings_of


@click.group()
def subject() -> None:
    """Find and erase the data of a patient whose images were scored."""


@subject.command(epilog="Example: braintumor subject find --json < number.txt")
@as_json
def find(is_json: bool) -> None:
    """Print a patient's pseudonym and number of stored scans, and warn about scans of several sites.

    The command reads the patient number (DICOM PatientID) from a prompt without an echo, or from standard input. It
    does not store the patient number. Patients of PNG, JPEG and NIfTI files have no pseudonym, so this command cannot
    find them.
    """
    from braintumor.erasure import find_subject

    number = click.prompt("Patient number", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    patient = find_subject(settings_of("scorer"), number)
    if is_json:
        print_json(asdict(patient))
    else:
        click.echo(f"{patient.pseudonym}: {patient.count_scan} scans")
    if patient.count_site > 1:
        click.echo(
            f"Warning: the scans come from {patient.count_site} sites, so they may show several patients with the same "
            "number. An erasure deletes all of them. Compare the scans before you erase.",
            err=True,
        )


@subject.command(epilog="Example: braintumor subject erase 3f2a9c0d4b5e6f708192a3b4c5d6e7f8 --objects")
@click.argument("pseudonym", metavar="PSEUDONYM")
@click.option(
    "--reason", default="asked for by the person", show_default=True, help="Reason, stored permanently. Use no names."
)
@click.option("--objects", "with_objects", is_flag=True, help="Also delete the images themselves from S3.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@as_json
def erase(pseudonym: str, reason: str, with_objects: bool, is_sure: bool, is_json: bool) -> None:
    """Erase the data of the patient with this PSEUDONYM. This cannot be undone.

    `braintumor subject find` prints the pseudonym. The command erases the patient's rows, images in snapshots, and
    pages with an image of the patient. A tombstone without identity remains, with marks that reject later files of the
    patient. The command prints the addresses of the images. Without --objects, the database keeps the addresses until
    `braintumor subject objects` finds that the images are deleted. Connect as a login of the role braintumor_eraser.
    """
    from braintumor.erasure import erase as erase_subject

    if not is_sure:
        click.confirm("Erase all data of this patient? It cannot be undone", abort=True, err=True)
    settings = settings_of("eraser")
    done = erase_subject(settings, pseudonym, actor=getpass.getuser(), reason=reason, with_objects=with_objects)
    if done.unread_uris:
        click.echo(
            f"Warning: {len(done.unread_uris)} prefixes or labeled files were not read, so images of the patient can "
            "remain there. Give the right to read them, and run the command again. If that is not possible, or the "
            "file is above 64 MiB, look there yourself:",
            err=True,
        )
    for uri in done.unread_uris:
        click.echo(f"not read: {uri}", err=True)
    if is_json:
        print_json(asdict(done))
        return
    total = ", ".join(f"{count} {table}" for table, count in done.counts.items() if count)
    click.echo(f"erasure {done.erasure_id}: {total}; {len(done.removed)} pages and images")
    if done.snapshot_ids:
        click.echo(f"models trained on these snapshots are not changed: {', '.join(done.snapshot_ids)}")
    verb = (
        "deleted, except its versions and copies"
        if done.are_objects_deleted
        else "still there, delete it, with its versions and copies"
    )
    for uri in done.object_uris:
        click.echo(f"{verb}: {uri}")


@subject.command(epilog="Example: braintumor subject objects --delete")
@click.option("--delete", "is_delete", is_flag=True, help="Delete these objects from S3.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@as_json
def objects(is_delete: bool, is_sure: bool, is_json: bool) -> None:
    """List the objects of erased patients that are still in S3.

    The command deletes the stored addresses of all other objects. An object that was overwritten after the erasure is
    not the patient's any more, so it stays. Connect as a login of the role braintumor_eraser.
    """
    from braintumor.erasure import erased_objects

    if is_delete and not is_sure:
        click.confirm("Delete every object of erased patients that is still in S3?", abort=True, err=True)
    remaining = erased_objects(settings_of("eraser"), delete=is_delete)
    if is_json:
        print_json(asdict(remaining))
        return
    for uri in remaining.left:
        click.echo(f"still there, delete it, with its versions and copies: {uri}")
    click.echo(f"{len(remaining.left)} objects are still there, {remaining.count_gone} are gone")
