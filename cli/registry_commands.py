"""`secateur registry …`: what is published, for whoever can reach its folder or its object store."""

import getpass
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from platformdirs import user_data_path

from cli import options
from cli.console import EXIT_DAMAGED, err, out, print_json, refuse
from cli.registry_tables import files_table, models_table, versions_table
from jobs.registry_url import URL_SETTING, parse_registry_url
from registry.catalog import Catalog, list_models
from registry.local import NotWritableError
from registry.manifest import DamagedManifestError
from registry.names import LATEST, MAIN, is_tag
from registry.opening import open_catalog, open_registry
from registry.reading import Model, Version
from registry.tombstones import MAX_REASON
from registry.verifying import Finding

app = typer.Typer(
    name="registry", help="List, verify, tag and delete what is published here.", no_args_is_help=True
)

AnyName = Annotated[
    str, typer.Argument(metavar="NAME[@REVISION]", help="A model, and main or which version.")
]
OneOrAll = Annotated[
    str, typer.Argument(metavar="NAME[@REVISION]", help="A model, all of it or one version.")
]
Name = Annotated[str, typer.Argument(help="The model, owner/name.")]
Tag = Annotated[str, typer.Argument(help="What users name the version.")]


@app.command("list")
def list_published(data: options.DataFolder = None, as_json: options.AsJson = False) -> None:
    """List the models, with their newest versions."""
    models = [_described(model) for model in list_models(_catalog(data))]
    if as_json:
        print_json(models)
    else:
        out.print(models_table(models) if models else "No models.")


@app.command("show")
def show(name: OneOrAll, data: options.DataFolder = None, as_json: options.AsJson = False) -> None:
    """Show the versions of a model, deleted ones too, or the files of one version."""
    model, version = _find(_catalog(data), name)
    if version is None:
        described = _described(model)
        if as_json:
            print_json(described)
        else:
            if model.versions:
                out.print(versions_table(described))
            for tombstone in model.tombstones:
                out.print(f"{tombstone}.", style="dim", markup=False, soft_wrap=True)
        return
    described = _described_version(model, version)
    files = [file.model_dump() for file in version.manifest.files]
    if as_json:
        print_json({**described, "files": files})
    else:
        out.print(f"{described['name']} at {described['commit']}", soft_wrap=True)
        out.print(f"{described['location']}\n", soft_wrap=True, markup=False)
        out.print(files_table(files))


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="Only this model.", show_default="all")] = None,
    data: options.DataFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """Read every file again and compare its digest. Exit code 1 if one is changed, missing or too many."""
    catalog = _catalog(data)
    names = catalog.names()
    if name is not None:
        if name not in names:
            _refuse_unknown(name)
        names = [name]
    verification, findings = catalog.verification(), 0
    told: list[dict[str, str]] = []
    for each in names:
        for finding in verification.verify(each):
            findings += 1
            told.append(_described_finding(finding))
            if not as_json:
                err.print(_sentence(finding), markup=False, soft_wrap=True)
    if as_json:
        print_json({"versions": verification.versions, "bytes": verification.bytes, "findings": told})
    else:
        looked = f"{_counted(verification.versions, 'version')}, {verification.bytes / 1e6:,.1f} MB read"
        out.print(
            f"{looked}: {_counted(findings, 'file')} not as published."
            if findings
            else f"{looked}: all well."
        )
    if findings:
        raise typer.Exit(EXIT_DAMAGED)


@app.command("tag")
def tag(
    name: AnyName,
    tag: Tag,
    move: Annotated[bool, typer.Option("--move", help="Also if it names another version.")] = False,
    data: options.DataFolder = None,
) -> None:
    """Give a version a name that it can be loaded by."""
    if not is_tag(tag):
        refuse(
            f"tag = {tag!r}: a tag has at most 96 letters, digits, '.', '_' and '-', begins with a letter or a digit, "
            f"and is not {MAIN}, {LATEST} or the digits of a commit."
        )
    catalog = _writable_catalog(data)
    model, version = _find(catalog, name)
    version = version or _at(model, MAIN)
    before = model.at(tag)
    if before not in (None, version) and not move:
        refuse(f"tag = {tag!r}: it names {before.commit}. Take another, or give --move.")
    catalog.set_tag(model.name, tag, version.commit)
    out.print(f"{model.name}@{tag} is {version.commit}.", soft_wrap=True)


@app.command("untag")
def untag(name: Name, tag: Tag, data: options.DataFolder = None) -> None:
    """Take a tag away; its version stays."""
    catalog = _writable_catalog(data)
    model, _ = _find(catalog, name)
    if tag not in model.tags:
        refuse(f"tag = {tag!r}: {model.name} has no such tag. See `secateur registry show {model.name}`.")
    catalog.remove_tag(model.name, tag)
    out.print(f"{model.name} has no tag {tag} any more.", soft_wrap=True)


@app.command("delete")
def delete(
    name: OneOrAll,
    reason: Annotated[str | None, typer.Option(help="Why; who asks for it is told.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: options.DataFolder = None,
) -> None:
    """Delete a version, or a model with all its versions, for good."""
    if reason is not None and (len(reason) > MAX_REASON or not reason.isprintable()):
        refuse(f"reason = {reason!r}: write one line of at most {MAX_REASON} characters.")
    catalog = _writable_catalog(data)
    model, version = _find(catalog, name)
    going = model.versions if version is None else [version]
    if not going:
        _refuse_missing(model, MAIN)
    what = f"{_counted(len(going), 'version')} of {model.name}"
    if not yes:
        typer.confirm(f"Delete {what}? Nothing brings it back.", abort=True)
    freed = sum(catalog.delete(model.name, each, _user(), reason) for each in going)
    out.print(f"{what} deleted; that freed {freed / 1e6:,.1f} MB.", soft_wrap=True)


@app.command("gc")
def gc(data: options.DataFolder = None) -> None:
    """Remove content that no version has, as `rm` or a power cut may leave it."""
    try:
        freed = _writable_catalog(data).collect_garbage()
    except DamagedManifestError as error:
        refuse(
            f"a manifest is damaged: {error}. See `secateur registry verify`, and put it back or delete its version."
        )
    out.print(f"That freed {freed / 1e6:,.1f} MB.")


def _catalog(data: Path | None) -> Catalog:
    root, url = _root(data), _url()
    if url is None and not root.is_dir():
        refuse(f"there is no registry at {root}. Name the service's data folder by --data.")
    return open_catalog(root, url)


def _writable_catalog(data: Path | None) -> Catalog:
    catalog = _catalog(data)
    try:
        open_registry(_root(data), _url()).require_writable()
    except NotWritableError as error:
        refuse(f"{error} Be the user that the service runs as.")
    return catalog


def _root(data: Path | None) -> Path:
    return ((data or user_data_path("secateur")) / "registry").resolve()


def _url() -> str | None:
    try:
        url = os.environ.get(URL_SETTING)
        return None if url is None else parse_registry_url(url)
    except ValueError as error:
        refuse(f"{URL_SETTING}: {error}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # As in a container that was given a number and no name.
        return f"user {os.getuid()}"


def _find(catalog: Catalog, asked: str) -> tuple[Model, Version | None]:
    """Find a model, and a version if one is named."""
    name, at, revision = asked.partition("@")
    model = catalog.find(name)
    if model is None:
        _refuse_unknown(name)
    return model, _at(model, revision) if at else None


def _refuse_unknown(name: str) -> NoReturn:
    refuse(f"name = {name!r}: nothing is published under it. See `secateur registry list`.")


def _at(model: Model, revision: str) -> Version:
    return model.at(revision) or _refuse_missing(model, revision)


def _refuse_missing(model: Model, revision: str) -> NoReturn:
    deleted = model.deleted_at(revision)
    if deleted is not None:
        refuse(f"{deleted}.")
    refuse(f"revision = {revision!r}: {model.name} has none. See `secateur registry show {model.name}`.")


def _described(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "versions": [_described_version(model, version) for version in model.versions],
        "deleted": [tombstone.model_dump(mode="json") for tombstone in model.tombstones],
    }


def _described_version(model: Model, version: Version) -> dict[str, Any]:
    return {
        "name": model.name,
        "commit": version.commit,
        "tags": model.tags_of(version),
        "job_id": version.manifest.job_id,
        "published_at": _to_the_second(version.manifest.published_at),
        "bytes": version.manifest.bytes,
        "location": version.location,
    }


def _described_finding(finding: Finding) -> dict[str, str]:
    return {"file": finding.location, "expected": finding.expected, "found": finding.found}


def _sentence(finding: Finding) -> str:
    return f"{finding.location}: expected {finding.expected}, found {finding.found}"


def _to_the_second(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
