"""Test the command ``braintumor train``."""

from __future__ import annotations

from braintumor.config.settings import Settings
from tests.conftest import invoke


def test_set_with_the_recipes_own_value_says_so(empty_settings: Settings) -> None:
    own = ("--set", "dropout=0.3", "--set", "fine_tuning=false", "--set", "epochs=3")
    done = invoke(empty_settings, "train", "--recipe", "resnet50_small", *own, "--snapshot", "none")
    *notes, error = done.stderr.splitlines()
    assert done.exit_code == 1 and error.startswith("braintumor: There is no snapshot 'none'.")
    assert notes == [
        f"--set {key} changes nothing, because the recipe resnet50_small has this value already"
        for key in ("dropout", "fine_tuning")
    ]
