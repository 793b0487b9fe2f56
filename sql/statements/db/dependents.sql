-- An object and all its dependents, each with the statements that restore its grants.
with recursive dropped (classid, objid) as (
    select cast('pg_class' as regclass)::oid, oid from pg_class
    where :kind = 'view' and relname = :name and relnamespace = cast(:schema as regnamespace)
    union
    select cast('pg_proc' as regclass)::oid, oid from pg_proc
    where :kind = 'function' and proname = :name and pronamespace = cast(:schema as regnamespace)
    union
    select
        case when rule.oid is null then depend.classid else cast('pg_class' as regclass)::oid end,
        coalesce(rule.ev_class, depend.objid)
    from dropped
    join pg_depend as depend on depend.refclassid = dropped.classid and depend.refobjid = dropped.objid
    left join pg_rewrite as rule
        on depend.classid = cast('pg_rewrite' as regclass) and rule.oid = depend.objid and rulename = '_RETURN'
)
select
    identified.type,
    identified.identity,
    pg_get_userbyid(coalesce(relowner, proowner)) as owner,
    case
        when relnamespace = cast(:schema as regnamespace) and relkind = 'v' then 'view ' || relname
        when pronamespace = cast(:schema as regnamespace) then 'function ' || proname
    end as key,
    array(
        select format(
            'grant %s%s on %s%I to %s%s', privilege_type, ' (' || quote_ident(attname) || ')',
            case when proname is not null then 'function ' end, coalesce(relname, proname),
            case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
            case when is_grantable then ' with grant option' end)
        from (
            select null::name as attname, coalesce(relacl, proacl) as acl
            union all
            select attname, attacl from pg_attribute where attrelid = relation.oid and not attisdropped
        ) as held
        cross join aclexplode(acl)
        where grantee <> coalesce(relowner, proowner)
    ) as grants
from dropped
cross join lateral pg_identify_object(dropped.classid, dropped.objid, 0) as identified
left join pg_class as relation on classid = cast('pg_class' as regclass) and relation.oid = objid
left join pg_proc as routine on classid = cast('pg_proc' as regclass) and routine.oid = objid
where classid <> cast('pg_type' as regclass) and coalesce(relkind, 'v') not in ('i', 't')
order by identified.type, identified.identity
