"""`secateur up` with several workers, which never gives up on a process that is killed again and again."""

import sys
from dataclasses import replace
from pathlib import Path

from cli.embedded.processes import RestartPolicy, Service
from cli.embedded.service import Surroundings, Up, compose_services, run


def main(data_dir: str, models: str, workers: str) -> None:
    def compose(around: Surroundings) -> list[Service]:
        services = {service.name: service for service in compose_services(around)}
        worker = services.pop("worker")
        for number in range(int(workers)):
            name = f"worker-{number}"
            command = [part.replace("jobs@%h", f"{name}@%h") for part in worker.command]
            services[name] = replace(worker, name=name, command=command)
        return list(services.values())

    # Half a second after each death: what is wanted is many, not patience.
    policy = RestartPolicy(first_delay=0.5, failures=10**6, window=0.5)
    run(Up(data_dir=Path(data_dir), port=None, local_roots=[Path(models)]), compose=compose, policy=policy)


if __name__ == "__main__":
    main(*sys.argv[1:])
