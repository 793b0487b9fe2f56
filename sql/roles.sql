-- Group roles without a login, shared by all databases of a server. Logins become members:
--     create role scoring login password '...' in role braintumor_scorer;
-- `braintumor migrate` runs this file if its login can create roles. Otherwise an administrator runs it once, and
--     grant braintumor_owner to LOGIN_THAT_MIGRATES;
-- grants.sql defines the rights of each role. Every `braintumor migrate` applies it.
do $$
declare
    role_name text;
    purpose   text;
begin
    for role_name, purpose in values
        ('braintumor_owner', 'Owns the schema. Used by migrations only.'),
        ('braintumor_scorer', 'Scoring runs, rescores, previews. Reads object keys.'),
        ('braintumor_trainer', 'Snapshots, models, evaluations, gate verdicts.'),
        ('braintumor_promoter', 'Promotions, withdrawals and approval decisions.'),
        ('braintumor_reviewer', 'Pages: reads predictions and images, writes reviews.'),
        ('braintumor_analyst', 'Reads views, no tables.'),
        ('braintumor_eraser', 'Erases patients with erase_subject, and records objects that remain in S3.')
    loop
        if not exists (select from pg_roles where rolname = role_name) then
            begin
                execute format('create role %I nologin', role_name);
                execute format('comment on role %I is %L', role_name, purpose);
            exception when duplicate_object or unique_violation then
                null;  -- a migration of another database creates the role now
            end;
        end if;
    end loop;
    if not pg_has_role(current_user, 'braintumor_owner', 'set') then
        execute format('grant braintumor_owner to %I', current_user);
    end if;
end $$;
