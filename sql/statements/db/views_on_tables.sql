-- The views that read a table of a schema, with their owners.
select distinct
    pg_describe_object('pg_class'::regclass, reader.oid, 0) || ' (owner ' || reader.relowner::regrole || ')'
from pg_depend
join pg_rewrite on pg_rewrite.oid = pg_depend.objid and classid = 'pg_rewrite'::regclass
join pg_class as reader on reader.oid = ev_class
join pg_class as source on source.oid = refobjid and refclassid = 'pg_class'::regclass
where source.relnamespace = cast(:schema as regnamespace) and source.relkind = 'r'
order by 1
