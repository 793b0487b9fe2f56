"""``braintumor doctor``: tries what the settings lead to, and says of each part whether it is well."""
