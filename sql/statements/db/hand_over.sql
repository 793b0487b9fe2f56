-- Makes the owner role the owner of the login's objects. Two kinds of databases need it: a restored database, and a
-- database that was made without the roles.
do $$
declare
    statement text;
begin
    for statement in
        select format('alter schema %I owner to {{ owner }}', nspname) from pg_namespace
        where nspname = '{{ schema }}' and nspowner = current_user::regrole
        union all
        select
            format('alter %s %s owner to {{ owner }}', case relkind when 'v' then 'view' else 'table' end, oid::regclass)
        from pg_class
        where relnamespace = '{{ schema }}'::regnamespace and relkind in ('r', 'v') and relowner = current_user::regrole
        union all
        select format('alter type %s owner to {{ owner }}', oid::regtype) from pg_type
        where typnamespace = '{{ schema }}'::regnamespace and typtype = 'e' and typowner = current_user::regrole
        union all
        select format('alter function %s owner to {{ owner }}', oid::regprocedure) from pg_proc
        where pronamespace = '{{ schema }}'::regnamespace and proowner = current_user::regrole
    loop
        execute statement;
    end loop;
end $$
