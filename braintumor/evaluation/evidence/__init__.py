"""Report the evidence about one model to a change-control board, from rows of Postgres only."""
