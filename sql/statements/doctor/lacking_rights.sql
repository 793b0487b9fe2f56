-- The rights of a role that the current login lacks on existing tables, sequences, views and functions.
with needed as (
    select oid, relname::text as name, relkind, verb
    from unnest(cast(:relations as text[]), cast(:verbs as text[])) as written (name, verb)
    join pg_class on relname = written.name and relnamespace = to_regnamespace(:schema)
    union all
    select oid, relname::text, relkind, 'select'
    from pg_class where relkind = 'v' and relname = any(cast(:views as text[])) and relnamespace = to_regnamespace(:schema)
)
select verb || ' on ' || name from needed
where not case relkind when 'S' then has_sequence_privilege(oid, verb) else has_table_privilege(oid, verb) end
union all
select 'execute on ' || proname from pg_proc
where pronamespace = to_regnamespace(:schema) and proname = any(cast(:functions as text[]))
  and not has_function_privilege(oid, 'execute')
order by 1
