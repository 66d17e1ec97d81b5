"""What differs from what was released: found by whoever can tell, and put back in one go."""

from __future__ import annotations

from lastgood.actions.abilities import generation_id
from lastgood.actions.drift import detect
from lastgood.actions.heal import heal
from lastgood.domain.observation import Drift, DriftKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import RolloutState
from lastgood.domain.unit import Role
from lastgood.ports.drivers import Generation
from lastgood.ports.traffic import Destination, Share
from lastgood.testing.fake_files import FakeFiles
from tests.actions.theatre import UNIT, Theatre


def found(theatre: Theatre, release: Release) -> dict[str, DriftKind]:
    return {drift.subject: drift.kind for drift in detect(theatre.drivers, release)}


def test_nothing_differs_from_what_stands(theatre: Theatre) -> None:
    assert found(theatre, theatre.stand(theatre.release("old"))) == {}


def test_the_runtime_compares_with_how_it_was_made(theatre: Theatre) -> None:
    """Without a files driver it is asked for what it brought there itself."""
    old = theatre.stand(theatre.release("old", files_target=None))
    compared = []

    def drift(generation: Generation) -> tuple[Drift, ...]:
        compared.append(generation)
        return (Drift("web 2", DriftKind.CHANGED, "another image"),)

    theatre.runtime.drift = drift  # type: ignore[method-assign]
    assert found(theatre, old) == {"web 2": DriftKind.CHANGED}
    assert [generation.files for generation in compared] == [old.files]


def test_an_instance_that_ended_by_hand_is_found(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old", image=theatre.image("old")))
    theatre.runtime.end_by_hand(generation_id(old), Role.WORKER)
    assert found(theatre, old) == {"worker": DriftKind.MISSING}
    assert theatre.run(heal(theatre.context, UNIT).id).state is RolloutState.VERIFIED
    assert found(theatre, old) == {}


def test_looking_does_not_mend_a_file(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    files = theatre.drivers.built[UNIT, "files"]
    assert isinstance(files, FakeFiles)
    files.edit("shop.toml", None)
    theatre.runtime.stop(generation_id(old), [Role.WORKER])
    both = {"shop.toml": DriftKind.MISSING, "role worker": DriftKind.MISSING}
    assert found(theatre, old) == both
    assert found(theatre, old) == both


def test_shares_that_somebody_made_are_found_and_put_back(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    there = theatre.proxy.current()
    theatre.proxy.split([Share(there, 90.0), Share(Destination("somebody", ("10.0.0.9:80",)), 10.0)])
    (drift,) = detect(theatre.drivers, old)
    assert (drift.subject, drift.detail) == ("traffic", "somebody 10 %")
    end = theatre.run(heal(theatre.context, UNIT).id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert theatre.serves(old)


def test_traffic_that_goes_where_nobody_is_any_more_is_found_and_put_back(theatre: Theatre) -> None:
    """A web that was started again may listen elsewhere."""
    old = theatre.stand(theatre.release("old"))
    theatre.runtime.crash(generation_id(old), Role.WEB)
    assert found(theatre, old) == {"traffic": DriftKind.CHANGED}
    assert theatre.run(heal(theatre.context, UNIT).id).state is RolloutState.VERIFIED
    assert theatre.serves(old)


def test_traffic_that_goes_elsewhere_is_found(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    theatre.proxy.route(Destination("", ("10.0.0.9:80",)))
    (drift,) = detect(theatre.drivers, old)
    assert (drift.subject, drift.detail) == ("traffic", "10.0.0.9:80")
    theatre.proxy.route(Destination())
    (drift,) = detect(theatre.drivers, old)
    assert drift.detail == "nowhere"
