"""``python -m braintumor``."""

from braintumor.cli import main

main()
