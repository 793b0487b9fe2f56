"""Speed claims, each beside what it is compared to, in one run. Only the ratios mean anything on a shared machine."""
