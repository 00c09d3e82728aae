"""The names of run folders, NUMBER-RECIPE-GENDER-bBATCH, and of their checkpoints, STAGE-ITERATION."""


def run_number(name: str) -> int:
    """The number in front of a run folder's name, -1 where there is none."""
    head = name.partition("-")[0]
    return int(head) if head.isdecimal() else -1


def stage_and_iteration(name: str) -> tuple[str, int] | None:
    """What a checkpoint's name says, None where it is none's."""
    stage, _, iteration = name.rpartition("-")
    return (stage, int(iteration)) if stage and iteration.isdecimal() else None
