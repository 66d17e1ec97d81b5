import pytest

pytest.register_assert_rewrite("lastgood.testing.conformance_places")
