"""A scrape, read as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families

from tests.packaging.files import ROOT, table

PAGE = ROOT / "docs/observability.md"


class Scrape:
    """The samples of one answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self._families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, sample: str, **labels: str) -> float:
        """Give the one value of a sample with exactly these labels."""
        (value,) = [
            each.value
            for family in self._families.values()
            for each in family.samples
            if each.name == sample and each.labels == labels
        ]
        return value

    def labels(self, metric: str) -> list[dict[str, str]]:
        """Give the labels of every series of a gauge."""
        return [dict(each.labels) for each in self._families[metric].samples]

    def described(self) -> dict[str, tuple[str, str]]:
        """Tell the kind and the meaning of each metric of ours, by the name it is asked for."""
        return {
            name + ("_total" if family.type == "counter" else ""): (family.type, family.documentation)
            for name, family in self._families.items()
            if name.startswith("secateur_")
        }


def documented(heading: str) -> dict[str, tuple[str, str]]:
    """Tell kind and meaning of each metric in the table of the page that has this heading."""
    return {name.strip("`"): (kind, meaning) for name, kind, meaning in table(PAGE, heading)}
