-- Every view, table and column of a schema with its type and comment.
select
    relname::text,
    relkind::text,
    obj_description(pg_class.oid, 'pg_class') as relation_comment,
    attname::text,
    format_type(atttypid, atttypmod) as type,
    col_description(pg_class.oid, attnum) as comment
from pg_class
join pg_attribute on attrelid = pg_class.oid
where relnamespace = cast(:schema as regnamespace) and relkind in ('r', 'v') and attnum > 0 and not attisdropped
order by relname, attnum
