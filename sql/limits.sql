-- Settings of the logins of analysts and reviewers. Their transactions and statements have limits, because a forgotten session
-- blocks migrations and vacuum. Their search path has the schema, so queries need no prefix.
-- Logins do not inherit settings of a group role in Postgres, so each member login gets its own. The group role has them
-- too, as documentation. A setting that an operator chose for a login is kept. `braintumor migrate` runs this file and reports
-- the logins that it cannot change. For these an administrator runs it with psql.
do $$
declare
    login    record;
begin
    for login in
        select distinct on (member.rolname, setting) member.rolname, setting, setting_value
        from (values
            ('braintumor_analyst', 'idle_in_transaction_session_timeout', '''5min'''),
            ('braintumor_analyst', 'statement_timeout', '''15min'''),
            ('braintumor_analyst', 'search_path', '"$user", braintumor, public'),
            ('braintumor_reviewer', 'idle_in_transaction_session_timeout', '''5min'''),
            ('braintumor_reviewer', 'statement_timeout', '''1min'''),
            ('braintumor_reviewer', 'search_path', '"$user", braintumor, public')
        ) as settings (group_name, setting, setting_value)
        join pg_roles as named on named.rolname = group_name
        join pg_roles as member on member.oid = named.oid or member.rolcanlogin and exists (
            select from pg_auth_members where roleid = named.oid and pg_auth_members.member = member.oid)
        where not exists (  -- logins with other roles too
            select from pg_roles as other
            where other.rolname like 'braintumor\_%' and not other.rolcanlogin
              and other.rolname not in ('braintumor_analyst', 'braintumor_reviewer')
              and pg_has_role(member.oid, other.oid, 'member'))
          and not exists (
            select from pg_db_role_setting
            where setrole = member.oid and array_to_string(setconfig, ',') like '%' || setting || '=%')
        order by member.rolname, setting, group_name  -- an analyst's limits are longer
    loop
        begin
            execute format('alter role %I set %I = %s', login.rolname, login.setting, login.setting_value);
        exception when insufficient_privilege then
            raise warning 'Login % has no %. Have an administrator run sql/limits.sql.', login.rolname, login.setting;
        when internal_error then
            null;  -- a migration of another database changes the role now
        end;
    end loop;
end $$;
