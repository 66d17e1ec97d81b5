"""Which handler does which kind of step."""

from __future__ import annotations

from lastgood.actions.context import Context
from lastgood.actions.steps.bundle import WriteBundle
from lastgood.actions.steps.evidence import CollectEvidence
from lastgood.actions.steps.files import PlaceFiles, SwitchFiles
from lastgood.actions.steps.gate import Watch, WatchCanary
from lastgood.actions.steps.generations import PlaceArtifact, StartGeneration, StopGeneration, SwitchWorkers
from lastgood.actions.steps.images import FetchImage, HoldImage
from lastgood.actions.steps.keep import KeepRestorePoint
from lastgood.actions.steps.observe import Observe
from lastgood.actions.steps.prune import Prune
from lastgood.actions.steps.restore import (
    AbandonCopy,
    CarryOver,
    CheckRestore,
    EndCapture,
    PrepareCopy,
    SwapDatabase,
)
from lastgood.actions.steps.room import CheckRoom
from lastgood.actions.steps.schema import LoadWarmCopy, Migrate, Rehearse, RevertSchema, TakeSnapshot
from lastgood.actions.steps.take_back import TakeBackWave
from lastgood.actions.steps.tools import Tools
from lastgood.actions.steps.traffic import DrainTraffic, ShiftTraffic, SplitTraffic
from lastgood.actions.steps.users import LookAtUsers
from lastgood.actions.steps.waves import GuardWaves, RollOutWave
from lastgood.domain.plan import StepKind
from lastgood.engine.handlers import Handlers


def handlers(tools: Tools) -> Handlers:
    """One handler per kind; a kind without one is a programming error found by a test."""
    watch = Watch(tools)
    return {
        StepKind.OBSERVE: Observe(tools),
        StepKind.CHECK_ROOM: CheckRoom(tools),
        StepKind.SNAPSHOT: TakeSnapshot(tools),
        StepKind.REHEARSE: Rehearse(tools),
        StepKind.WARM_COPY: LoadWarmCopy(tools),
        StepKind.FETCH_IMAGE: FetchImage(tools),
        StepKind.HOLD_IMAGE: HoldImage(tools),
        StepKind.PLACE_FILES: PlaceFiles(tools),
        StepKind.PLACE_ARTIFACT: PlaceArtifact(tools),
        StepKind.MIGRATE: Migrate(tools),
        StepKind.REVERT_SCHEMA: RevertSchema(tools),
        StepKind.CHECK_RESTORE: CheckRestore(tools),
        StepKind.PREPARE_COPY: PrepareCopy(tools),
        StepKind.CARRY_OVER: CarryOver(tools),
        StepKind.SWAP_DATABASE: SwapDatabase(tools),
        StepKind.END_CAPTURE: EndCapture(tools),
        StepKind.ABANDON_COPY: AbandonCopy(tools),
        StepKind.LOOK_AT_USERS: LookAtUsers(tools),
        StepKind.START_GENERATION: StartGeneration(tools),
        StepKind.SPLIT_TRAFFIC: SplitTraffic(tools),
        StepKind.WATCH_CANARY: WatchCanary(tools),
        StepKind.SHIFT_TRAFFIC: ShiftTraffic(tools),
        StepKind.DRAIN_TRAFFIC: DrainTraffic(tools),
        StepKind.SWITCH_WORKERS: SwitchWorkers(tools),
        StepKind.SWITCH_FILES: SwitchFiles(tools),
        StepKind.COLLECT_EVIDENCE: CollectEvidence(tools),
        StepKind.WATCH: watch,
        StepKind.GUARD: watch,
        StepKind.VERIFY: watch,
        StepKind.KEEP_RESTORE_POINT: KeepRestorePoint(tools),
        StepKind.WRITE_BUNDLE: WriteBundle(tools),
        StepKind.STOP_GENERATION: StopGeneration(tools),
        StepKind.PRUNE: Prune(tools),
    }


def wave_handlers(context: Context) -> Handlers:
    """The same for the steps of a change, which begin rollouts; ``context`` acts in the runner's name."""
    return {
        StepKind.ROLL_OUT_WAVE: RollOutWave(context),
        StepKind.GUARD_WAVES: GuardWaves(context),
        StepKind.TAKE_BACK_WAVE: TakeBackWave(context),
    }
