"""`secateur`: one command line for the service and for the library."""

import typer

from cli import demo, jobs_commands, keys_commands, prune_commands, registry_commands, reproduce, up

app = typer.Typer(
    name="secateur",
    help="Make language models smaller: OSSCAR width pruning and perplexity-guided depth pruning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("submit")(jobs_commands.submit)
app.command("watch")(jobs_commands.watch)
app.command("list")(jobs_commands.list_jobs)
app.command("cancel")(jobs_commands.cancel)
app.add_typer(keys_commands.app)
app.add_typer(registry_commands.app)
app.command("retry")(jobs_commands.retry)
app.command("prune")(prune_commands.prune)
app.command("estimate")(prune_commands.estimate)
app.command("evaluate")(prune_commands.evaluate)
app.command("reproduce")(reproduce.reproduce)
app.command("demo")(demo.demo)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
