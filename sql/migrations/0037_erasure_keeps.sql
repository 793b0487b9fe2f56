-- additive: what an erasure keeps, so that an erased person does not come back and no object is forgotten; and what pages show.

set local search_path = braintumor;

create table erased_content (
    content_mark  text not null,
    erasure_id    bigint not null references erasure,
    primary key (content_mark, erasure_id)
);
comment on table erased_content is
    'Append-only: one row per erasure and file, picture or study of the person. A later file with the same mark is refused.';
comment on column erased_content.content_mark is
    'HMAC under the pseudonym key of a file''s sha256, of its pixels'' sha256 or of its study''s pseudonym.';
comment on column erased_content.erasure_id is 'The erasure.';
create trigger erased_content_is_append_only before update or delete on erased_content
    for each row execute function refuse_change();

create table erasure_object (
    object_uri  text primary key,
    erasure_id  bigint not null references erasure,
    etag        text not null
);
comment on table erasure_object is
    'One row per object of an erased person that is still in S3. The row goes when the object''s deletion is confirmed.';
comment on column erasure_object.object_uri is 'Where it lies. It can identify a patient.';
comment on column erasure_object.erasure_id is 'The erasure.';
comment on column erasure_object.etag is 'Which version of the object. Another version is another person''s, perhaps.';

create table page (
    page_uri      text primary key,
    published_at  timestamptz not null default now()
);
comment on table page is 'One row per page in S3 whose scans and images are recorded. The row is written before the page is.';
comment on column page.page_uri is 'Where the page lies.';
comment on column page.published_at is 'When it was written first.';

create table page_scan (
    page_uri  text not null references page,
    scan_id   bigint not null references scan,
    primary key (page_uri, scan_id)
);
comment on table page_scan is 'One row per page and scan that it shows or names, so that an erasure finds the page.';
comment on column page_scan.page_uri is 'The page.';
comment on column page_scan.scan_id is 'The scan.';
create index page_scan_by_scan on page_scan (scan_id);  -- an erasure asks

create table page_image (
    page_uri      text not null references page,
    image_sha256  text not null,
    primary key (page_uri, image_sha256)
);
comment on table page_image is 'One row per page and labeled image that it shows or names, so that an erasure finds the page.';
comment on column page_image.page_uri is 'The page.';
comment on column page_image.image_sha256 is 'Of the file''s bytes.';
create index page_image_by_image on page_image (image_sha256);  -- an erasure asks
