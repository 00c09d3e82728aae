"""The same preparation on many machines, by Ray: an engine that exists, instead of one of our own.

Every machine must see the data set's files under the same paths, as it does on a shared disk. Shards come
back to this process, which writes them; so the store may lie where nobody else can write, and it is the same
to the byte as one made here.
"""

from __future__ import annotations

from voice2face_gan.data.prepare.shards import Done, Plan, prepare_shard
from voice2face_gan.errors import DataError
from voice2face_gan.files import write_bytes


def run_on_ray(plan: Plan, todo: list[int], address: str, done: Done) -> None:
    """Prepare shards on a Ray cluster.

    Args:
        plan: what is to be done.
        todo: shards.
        address: of the cluster ("10.0.0.1:6379", "ray://...", "auto"), or "local" for one on this machine
            that ends with this call.
        done: called for each shard when it is on disk.
    Raises:
        DataError: Ray is not installed, the cluster does not answer, or a shard fails there.
    """
    try:
        import ray
    except ImportError as error:
        raise DataError("--cluster needs Ray: pip install 'voice2face-gan[cluster]'.") from error
    try:
        ray.init(
            None if address == "local" else address,
            log_to_driver=False,
            configure_logging=False,
            include_dashboard=False if address == "local" else None,
        )
    except Exception as error:  # Ray raises many kinds, with long texts
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"the Ray cluster at '{address}' does not answer ({first}).") from error
    try:
        _run(ray, plan, todo, done)
    except ray.exceptions.RayError as error:
        raise DataError(
            f"a shard failed on the cluster ({type(error).__name__}); see Ray's logs, or prepare it here: "
            "what is done is kept."
        ) from error
    finally:
        ray.shutdown()


def _run(ray, plan: Plan, todo: list[int], done: Done) -> None:
    remote = ray.remote(num_cpus=1)(prepare_shard)
    settings = ray.put(plan.settings)
    most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))  # waiting shards: bounds the store of Ray
    waiting, running = list(reversed(todo)), {}
    while waiting or running:
        while waiting and len(running) < most:
            shard = waiting.pop()
            ref = remote.remote(plan.lines(shard), settings, plan.face_state, plan.crashed(shard))
            running[ref] = shard
        for ref in ray.wait(list(running))[0]:
            content, about = ray.get(ref)
            write_bytes(plan.path(running.pop(ref)), content)
            done(about)
