-- The roles of this system: groups without a login, one set for all databases of a server. Logins are made members of them:
--     create role night login password '...' in role braintumor_scorer;
-- `braintumor migrate` runs this file where its login may create roles. Else an administrator runs it once, and
--     grant braintumor_owner to LOGIN_THAT_MIGRATES;
-- What each may do is in grants.sql, which every `braintumor migrate` applies anew.
do $$
declare
    role_name text;
    purpose   text;
begin
    for role_name, purpose in values
        ('braintumor_owner', 'Owns the schema: migrations, and nothing else.'),
        ('braintumor_scorer', 'Nights, rescores, previews. Reads object keys.'),
        ('braintumor_trainer', 'Snapshots, models, evaluations, verdicts.'),
        ('braintumor_promoter', 'The promotion ledger and the approvals.'),
        ('braintumor_reviewer', 'The pages: reads answers and images, writes reviews.'),
        ('braintumor_analyst', 'Reads the views, and no table.'),
        ('braintumor_eraser', 'Erases people with erase_subject, and remembers what is still in S3.')
    loop
        if not exists (select from pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nologin', role_name);
                execute format('comment on role %I is %L', role_name, purpose);
            exception when duplicate_object or unique_violation then
                null;  -- somebody else's migrate, of another database, at this moment
            end;
        end if;
    end loop;
    if not pg_has_role(current_user, 'braintumor_owner', 'set') then
        execute format('grant braintumor_owner to %I', current_user);
    end if;
end $$;
