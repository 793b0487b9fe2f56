"""Rights of each role: every combination of role, relation and verb, and real logins."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.db import database, migrations, roles
from braintumor.errors import DatabaseError
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.scoring.job import run_scoring_job
from devstack.stack import Stack
from tests.conftest import Put, as_role
from tests.sql import change, rows

VERBS = {"s": "select", "i": "insert", "u": "update", "d": "delete", "t": "truncate"}
COLUMNS = ("owner", "scorer", "trainer", "promoter", "reviewer", "analyst", "eraser")
MATRIX = """
                        owner  scorer  trainer  promoter  reviewer  analyst  eraser
migration               siud   s       s        s         s         -        -
view_definition         siud   -       -        -         -         -        -
snapshot                siud   s       siu      s         s         -        -
snapshot_image          siud   -       siu      s         -         -        -
split_assignment        siud   -       si       -         -         -        -
snapshot_exclusion      siud   -       sid      -         -         -        -
training_run            siud   s       si       s         s         -        -
model_version           siud   s       si       s         s         -        -
evaluation              siud   s       siu      s         s         -        -
evaluation_class        siud   s       sid      s         s         -        -
confusion_cell          siud   s       sid      s         s         -        -
test_prediction         siud   s       sid      s         s         -        -
evaluation_occlusion    siud   s       sid      s         s         -        -
evaluation_slice        siud   s       sid      s         s         -        -
test_set_access         siud   s       si       s         s         -        -
gate_verdict            siud   s       si       s         s         -        -
promotion               siud   s       s        si        s         -        -
withdrawal              siud   s       s        si        s         -        -
pruning                 siud   s       s        si        s         -        -
approval_decision       siud   s       s        si        s         -        -
reference_model         siud   s       si       si        s         -        -
scan                    siud   siu     s        s         s         -        -
scan_location           siud   si      -        -         s         -        -
scoring_run             siud   siu     s        s         s         -        -
scoring_chunk           siud   siu     s        s         s         -        -
scoring_run_object      siud   si      s        s         s         -        -
scan_outcome            siud   si      s        s         s         -        -
prediction              siud   si      s        s         s         -        -
rejection               siud   si      s        s         s         -        -
shadow_prediction       siud   si      s        s         s         -        -
scan_requeue            siud   si      s        s         s         -        -
rescore_run             siud   si      s        s         s         -        -
rescore                 siud   siu     s        s         s         -        -
scoring_run_summary     siud   siu     s        s         s         -        -
live_accuracy_figure    siud   siu     -        -         -         -        -
review_session          siud   -       -        -         si        -        -
review_session_item     siud   -       -        -         si        -        -
cross_patient_duplicate siud   -       -        -         -         -        -
shown_image             siud   -       -        -         si        -        -
review                  siud   -       s        -         si        -        -
review_retraction       siud   -       s        -         si        -        -
reviewed_frame          siud   -       siu      -         -         -        -
snapshot_review         siud   -       siu      s         s         -        -
requested_label         siud   -       si       -         -         -        -
erasure                 siud   -       -        -         -         -        -
erased_subject          siud   s       s        -         -         -        s
erased_content          siud   s       s        -         -         -        si
erasure_object          siud   -       -        -         -         -        sid
page                    siud   si      si       s         s         -        s
page_scan               siud   si      si       -         -         -        -
page_image              siud   si      si       -         -         -        -
erasure_run             siud   -       -        -         -         -        -
erasure_snapshot        siud   -       -        -         -         -        -
"""
"""Rights on each table. Every view is ``siud`` for its owner, ``s`` for ``VIEW_READERS``, and nothing else."""
VIEW_READERS = {"scorer", "trainer", "promoter", "reviewer", "analyst"}


def test_each_role_has_exactly_the_listed_rights_on_tables(empty_settings: Settings) -> None:
    written = {
        name: cells.split() for name, _, cells in (row.partition(" ") for row in MATRIX.strip().splitlines()[1:])
    }
    relations = rows(
        empty_settings,
        "select relname::text, relkind = 'v' from pg_class "
        "where relnamespace = 'braintumor'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f')",
    )
    assert {name for name, is_view in relations if not is_view} == set(written), "each table needs a row here"
    allowed = set(rows(empty_settings, _CELLS, roles=list(COLUMNS), verbs=list(VERBS.values())))
    expected = set()
    for name, is_view in relations:
        of_view = ["siud", *("s" if role in VIEW_READERS else "-" for role in COLUMNS[1:])]
        for role, letters in zip(COLUMNS, of_view if is_view else written[name], strict=True):
            expected |= {(role, verb, name) for letter, verb in VERBS.items() if letter in letters}
    assert allowed == expected


_CELLS = """
    select role, verb, relname::text
    from pg_class
    cross join unnest(cast(:roles as text[])) as role
    cross join unnest(cast(:verbs as text[])) as verb
    where relnamespace = 'braintumor'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f')
      and has_table_privilege('braintumor_' || role, pg_class.oid, verb)"""


FUNCTIONS_OF_READERS = {
    "champion_at",
    "confidence_bin",
    "distinct_reasons",
    "likeliest_class",
    "reviewed_label",
    "snapshot_difference",
    "stability_index",
    "wilson_high",
    "wilson_low",
    "worklist_page",
}
FUNCTIONS = {
    "scorer": FUNCTIONS_OF_READERS | {"mark_cross_patient_duplicates"},
    "trainer": FUNCTIONS_OF_READERS | {"reviewed_location"},
    "promoter": FUNCTIONS_OF_READERS,
    "reviewer": FUNCTIONS_OF_READERS,
    "analyst": FUNCTIONS_OF_READERS,
    "eraser": {"erase_subject"},
}
"""Functions that each role can execute. The owner can execute all."""


def test_each_role_executes_exactly_the_listed_functions(empty_settings: Settings) -> None:
    ask = """
        select distinct proname::text from pg_proc
        where pronamespace = 'braintumor'::regnamespace and has_function_privilege(:role, oid, 'execute')"""
    found = {role: {name for (name,) in rows(empty_settings, ask, role=f"braintumor_{role}")} for role in FUNCTIONS}
    assert found == FUNCTIONS
    public = """
        select proname::text from pg_proc cross join aclexplode(coalesce(proacl, acldefault('f', proowner)))
        where pronamespace = 'braintumor'::regnamespace and grantee = 0"""
    assert rows(empty_settings, public) == []


def test_a_new_function_is_for_its_owner_until_it_is_listed(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    with database.transaction(engine) as connection:
        connection.execute(text("set local role braintumor_owner"))
        connection.execute(text("create function touch() returns int language sql as 'select 1'"))
        connection.execute(text("create function look() returns int language sql security definer as 'select 2'"))
    allowed = """
        select proname::text, role from pg_proc cross join unnest(cast(:roles as text[])) as role
        where proname in ('touch', 'look') and has_function_privilege('braintumor_' || role, pg_proc.oid, 'execute')
        order by 1"""
    assert rows(empty_settings, allowed, roles=list(COLUMNS)) == [("look", "owner"), ("touch", "owner")]
    migrations.migrate(engine)
    assert rows(empty_settings, allowed, roles=list(FUNCTIONS)) == []
    engine.dispose()


def test_roles_have_no_login_no_create_and_no_column_rights(empty_settings: Settings) -> None:
    names = [f"braintumor_{role}" for role in COLUMNS]
    can_log_in = (
        "select rolname from pg_roles where rolname = any(:names) and (rolcanlogin or rolsuper or rolcreaterole)"
    )
    assert rows(empty_settings, can_log_in, names=names) == []
    may_create = "select name from unnest(:names) as name where has_schema_privilege(name, 'braintumor', 'create')"
    assert rows(empty_settings, may_create, names=names) == [("braintumor_owner",)]
    by_column = "select attrelid::regclass::text from pg_attribute where attacl is not null and attnum > 0"
    assert rows(empty_settings, by_column + " and attrelid::regclass::text like '%braintumor.%'") == []


def test_all_relations_belong_to_the_owner_role(empty_settings: Settings) -> None:
    owners = "select distinct relowner::regrole::text from pg_class where relnamespace = 'braintumor'::regnamespace"
    assert rows(empty_settings, owners) == [("braintumor_owner",)]


def test_objects_of_the_login_are_handed_to_the_owner_role(
    empty_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = database.connect(empty_settings)
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    with monkeypatch.context() as without:
        without.setattr(roles, "prepare", lambda _connection: False)
        migrations.migrate(engine)
    owner = "select relowner::regrole::text from pg_class where oid = 'braintumor.scan'::regclass"
    assert rows(empty_settings, owner) == [("braintumor",)]
    assert migrations.migrate(engine) == []
    assert rows(empty_settings, owner) == [("braintumor_owner",)]
    assert roles.advice(engine) is None
    engine.dispose()


def test_advice_grants_the_owner_role_only_before_the_hand_over(stack: Stack, empty_settings: Settings) -> None:
    engine = database.connect(as_role(stack, empty_settings, Role.TRAINER))
    assert roles.advice(engine) == (
        "This login does not migrate. Connect as the login that is a member of braintumor_owner."
    )
    change(empty_settings, "alter schema braintumor owner to braintumor")
    advice = roles.advice(engine)
    assert advice is not None and 'grant braintumor_owner to "trainer"' in advice
    engine.dispose()


def test_old_notices_of_the_connection_are_not_reported(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    with database.transaction(engine) as connection:
        database.run_script(connection, "do $$ begin raise warning 'of an earlier script'; end $$")
        assert roles.limit_sessions(connection) == []
    engine.dispose()


def test_the_scorer_scores_a_run_but_cannot_change_its_rows(
    stack: Stack, settings: Settings, put: Put, tmp_path: Path
) -> None:
    for path in write_unlabeled(tmp_path, count=3, seed=2):
        put(path.name, path.read_bytes())
    put("words.jpg", b"words")
    scorer = as_role(stack, settings, Role.SCORER)
    balance = run_scoring_job(scorer, run_key="night")
    assert (balance.count_scored, balance.count_rejected, balance.is_balanced) == (3, 1, True)
    refused = [
        "update prediction set confidence = 1",
        "delete from prediction",
        "delete from rejection",
        "update scoring_run_object set scan_id = 1",
        "delete from scan",
        "truncate scan cascade",
        "create table mine (a int)",
        "insert into promotion (request_key, action, model_version_id, is_override, actor, reason) "
        "values ('x', 'promote', 1, true, 'x', 'x')",
        "select reviewer from review",
    ]
    for statement in refused:
        with pytest.raises(DatabaseError, match="permission denied"):
            rows(scorer, statement)


def test_an_analyst_reads_every_view_and_no_object_key(stack: Stack, settings: Settings) -> None:
    analyst = as_role(stack, settings, Role.ANALYST)
    for (view,) in rows(settings, "select viewname::text from pg_views where schemaname = 'braintumor'"):
        rows(analyst, f"select * from {view} limit 1")
    assert rows(analyst, "select champion_at(now())") == rows(settings, "select model_version_id from champion")
    for statement in (
        "select key from scan_location",
        "select count(*) from prediction",
        "select erase_subject('', '', '{}', '', '')",
        "select reviewed_location('{1}')",
        "select mark_cross_patient_duplicates(1)",
    ):
        with pytest.raises(DatabaseError, match="permission denied"):
            rows(analyst, statement)
    shown = """
        select attname::text from pg_attribute join pg_class on attrelid = pg_class.oid
        where relkind = 'v' and relnamespace = 'braintumor'::regnamespace"""
    assert not {"key", "bucket", "etag", "image_uri", "left_out"} & {name for (name,) in rows(settings, shown)}
