"""One host of a job: its files, its container, its log, its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloudtune.emulator.control.rules import ML_ROOT
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.machine.channel_pipe import ChannelPipe
from cloudtune.emulator.machine.channels import Between, channels_of, download_channels
from cloudtune.emulator.machine.checkpoint_sync import CheckpointSync
from cloudtune.emulator.machine.hosts import Host, hosts_file, resource_configuration
from cloudtune.emulator.machine.instance_shares import Share, confined
from cloudtune.emulator.machine.job_environment import (
    job_environment,
    make_interpreter,
    relocate_drivers,
    relocated,
)
from cloudtune.emulator.machine.log_shipper import LogShipper, MetricExtractor
from cloudtune.emulator.machine.ml_folder import JobFolder, checkpoint_folder, write_configuration
from cloudtune.emulator.machine.processes import Container
from cloudtune.emulator.machine.site import Site

_SIGNALS = 128  # exit codes above it: killed


class Instance:
    """One host during one attempt of a job. Belongs to the attempt's thread.

    Args:
        job: What it works for.
        host: Which of the job's hosts it is.
        folder: For its files.
        name: Unique.
        site: What it shares with others.
    """

    def __init__(self, job: TrainingJob, host: Host, folder: JobFolder, name: str, site: Site) -> None:
        self.host = host
        self.folder = folder
        self._name = name
        self._job = job
        self._site = site
        self._root = site.isolation.ml_root(folder)
        self._share: Share | None = None
        self._container: Container | None = None
        self._shipper: LogShipper | None = None
        self._sync: CheckpointSync | None = None
        self._pipes: list[ChannelPipe] = []

    def prepare(self, hosts: Sequence[Host], addresses: Sequence[str], between: Between) -> None:
        """Makes the files below ``/opt/ml``, inputs and earlier checkpoints among them.

        Args:
            hosts: All of the job.
            addresses: Of ``hosts``.
            between: Called between two pieces of each download; what it raises ends the preparation.

        Raises:
            StoreFailed: An input cannot be had.
        """
        request, site = self._job.request, self._site
        self.folder.create(self.host.name, hosts_file(hosts, addresses))
        parameters = {key: relocated(text, self._root) for key, text in request.get("HyperParameters", {}).items()}
        write_configuration(self.folder, request, parameters, resource_configuration(hosts, self.host))
        channels = channels_of(request, hosts, self.host, site.store)
        download_channels(self.folder, channels, site.store, between)
        self._pipes = [
            ChannelPipe(self.folder.data, channel, site.store) for channel in channels if channel.mode == "Pipe"
        ]
        relocate_drivers(self.folder, self._root)
        if "CheckpointConfig" in request:
            self._sync = CheckpointSync(
                site.store,
                request["CheckpointConfig"]["S3Uri"],
                checkpoint_folder(self.folder, request),
                site.settings.checkpoint_interval_s,
                site.threads,
                lambda key: site.faults.checkpoint_upload_lost(self._job.name, key),
            )
            self._sync.restore(between)

    def start(
        self,
        program: Sequence[str],
        network: int | None,
        on_end: Callable[[Instance], None],
        on_lost_input: Callable[[str], None],
    ) -> None:
        """Runs ``program`` in a container.

        Args:
            program: The job's command.
            network: See :meth:`cloudtune.emulator.machine.isolation.Isolation.command`.
            on_end: Called once, from another thread, when it has ended.
            on_lost_input: Called, from another thread, with the reason when a channel cannot be read any more.

        Raises:
            SetupFailed: There is no container.
        """
        site = self._site
        executables = f"{make_interpreter(self.folder)}:{site.scripts.path}"
        environment = job_environment(
            self._job, self.host, self.folder, site.isolation, executables, site.endpoint_url, site.ca_bundle
        )
        for pipe in self._pipes:
            pipe.start(lambda error: on_lost_input(str(error)))
        self._share = share = site.shares.take(self._name, self.host.instance_type)
        command = site.isolation.command(self.folder, [relocated(part, self._root) for part in program], network)
        with confined(share.cpus):
            self._container = Container.start(
                share.command(command),
                share.environment | environment,
                self._name,
                site.isolation.first_process,
                site.keeper,
            )
        self._container.on_end(site.threads, lambda: on_end(self))

    def accompany(self, metrics: MetricExtractor) -> None:
        """Ships output, of which ``metrics`` sees each line, and checkpoints from now on."""
        if self._container is None:
            raise ValueError(f"{self.host.name} has not been started")
        logs = self._site.store.logs(self._job.region)
        stream = logs.new_stream(self._job.name, self.host.name)
        self._shipper = LogShipper(self._container.output, logs, stream, metrics, self._site.threads)
        self._shipper.start(self._share.note if self._share is not None else None)
        if self._sync is not None:
            self._sync.start()

    def terminate(self) -> None:
        """SIGTERM to the program, as ``docker stop`` does."""
        if self._container is not None:
            self._container.terminate()

    def kill(self) -> None:
        if self._container is not None:
            self._container.kill()

    def end(self) -> int:
        """Ends what is left, ships the rest of the output, and returns the exit code. May be called twice."""
        code = 0
        if self._container is not None:
            code = self._container.reap()
            if self._shipper is not None:
                self._shipper.finish(self._remark(code))
            self._container.close()
        for pipe in self._pipes:
            pipe.end()
        self._site.shares.give_back(self._name)
        return code

    def _remark(self, code: int) -> str | None:
        """What may help a job that has failed."""
        if self._root == ML_ROOT or not 0 < code < _SIGNALS:
            return None
        return (
            f"emulator: without namespaces {ML_ROOT} is elsewhere, at the moment {self._root}: "
            f'os.environ.get("SAGEMAKER_BASE_DIR", "{ML_ROOT}") finds it everywhere'
        )

    def end_sync(self, complete: bool) -> None:
        """See :meth:`CheckpointSync.finish`. Raises StoreFailed."""
        if self._sync is not None:
            self._sync.finish(complete)
