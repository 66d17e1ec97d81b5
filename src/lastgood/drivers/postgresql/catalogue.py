"""The questions to the catalogue from which a schema's listing is made.

Each answers with rows (kind, parent, name, definition): ``parent`` is the relation a part belongs to,
or ``""``. ``pg_catalog`` is the only schema on the search path, so that every name comes qualified.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

_SCHEMAS: LiteralString = (
    "(SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_'"
    " AND nspname NOT IN ('information_schema', 'lastgood'))"
)
_TABLES: LiteralString = """(
    SELECT c.*, n.nspname || '.' || c.relname AS full_name
    FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM extensions e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid))"""

WITH: LiteralString = f"""
WITH schemas AS MATERIALIZED {_SCHEMAS},
extensions AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
relations AS MATERIALIZED {_TABLES}
"""


def _grants(column: LiteralString, kind: LiteralString, owner: LiteralString) -> LiteralString:
    """Grants spelt out: an empty list means the default ones, which a dump may write down."""
    return (
        "array_to_string(ARRAY(SELECT a::text COLLATE \"C\" FROM unnest(coalesce("
        + column + ", acldefault('" + kind + "', " + owner + "))) a ORDER BY 1), ' ')"
    )  # fmt: skip


QUERIES: Mapping[str, LiteralString] = {
    "schemas": f"""
SELECT 'schema', '', n.nspname,
       concat_ws('; ', 'owner ' || pg_get_userbyid(s.nspowner),
           'grants ' || {_grants("s.nspacl", "n", "s.nspowner")})
FROM schemas n JOIN pg_namespace s USING (oid)
WHERE NOT EXISTS (SELECT FROM extensions e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid)
""",
    "relations": f"""
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' END,
       '', c.full_name,
       concat_ws('; ', 'owner ' || pg_get_userbyid(c.relowner),
           'grants ' || {_grants("c.relacl", "r", "c.relowner")},
           'persistence ' || c.relpersistence::text, 'options ' || c.reloptions::text,
           'method ' || (SELECT amname FROM pg_am WHERE pg_am.oid = c.relam),
           'row security ' || c.relrowsecurity || ' ' || c.relforcerowsecurity,
           'identity ' || c.relreplident::text, 'partitioned by ' || pg_get_partkeydef(c.oid),
           'partition ' || pg_get_expr(c.relpartbound, c.oid),
           'inherits ' || (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
                           FROM pg_inherits i WHERE i.inhrelid = c.oid),
           'of type ' || nullif(c.reloftype, 0)::regtype::text,
           CASE WHEN c.relkind IN ('v', 'm') THEN 'as ' || pg_get_viewdef(c.oid) END)
FROM relations c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
""",
    "columns": """
SELECT 'column', c.full_name, c.full_name || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> t.typcollation
                THEN 'collate ' || a.attcollation::regcollation::text END,
           CASE WHEN a.attnotnull THEN 'not null' END,
           CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::text END,
           CASE WHEN a.attgenerated <> '' THEN 'generated ' || a.attgenerated::text END,
           'default ' || pg_get_expr(d.adbin, d.adrelid),
           CASE WHEN a.attstorage <> t.typstorage THEN 'storage ' || a.attstorage::text END,
           'compression ' || nullif(a.attcompression::text, ''),
           'options ' || a.attoptions::text,
           'grants ' ||
               (SELECT string_agg(g::text, ' ' ORDER BY g::text COLLATE "C") FROM unnest(a.attacl) g))
FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
""",
    "column order": """
SELECT 'column order', c.full_name, c.full_name, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') GROUP BY c.full_name
""",
    "constraints": """
SELECT 'constraint', r.full_name, r.full_name || '.' || c.conname, pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN relations r ON r.oid = c.conrelid WHERE c.contype NOT IN ('t', 'n')
UNION ALL
SELECT 'constraint', n.nspname || '.' || t.typname, n.nspname || '.' || t.typname || '.' || c.conname,
       pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid JOIN schemas n ON n.oid = t.typnamespace
WHERE c.contype <> 'n'
  AND NOT EXISTS (SELECT FROM extensions e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
""",
    "indexes": """
SELECT 'index', t.full_name, c.full_name,
       concat_ws('; ', pg_get_indexdef(c.oid), CASE WHEN NOT i.indisvalid THEN 'invalid' END,
           CASE WHEN i.indisclustered THEN 'clustered' END, CASE WHEN i.indisreplident THEN 'identity' END)
FROM pg_index i JOIN relations c ON c.oid = i.indexrelid JOIN relations t ON t.oid = i.indrelid
""",
    "sequences": f"""
SELECT 'sequence', coalesce((SELECT d.refobjid::regclass::text FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'), ''), c.full_name,
       concat_ws('; ', format_type(s.seqtypid, NULL), 'start ' || s.seqstart, 'by ' || s.seqincrement,
           'from ' || s.seqmin, 'to ' || s.seqmax, 'cache ' || s.seqcache, 'cycle ' || s.seqcycle,
           'owner ' || pg_get_userbyid(c.relowner), 'grants ' || {_grants("c.relacl", "s", "c.relowner")},
           'owned by ' || (SELECT d.refobjid::regclass::text || '.' || a.attname FROM pg_depend d
                JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')))
FROM relations c JOIN pg_sequence s ON s.seqrelid = c.oid
""",
    "routines": f"""
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, '',
       n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       concat_ws('; ', 'owner ' || pg_get_userbyid(p.proowner),
           'grants ' || {_grants("p.proacl", "f", "p.proowner")},
           CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid)
                ELSE format_type(p.prorettype, NULL) || ' ' || (
                    SELECT concat_ws(' ', g.aggtransfn, g.aggfinalfn, g.aggcombinefn,
                                     g.aggtranstype::regtype, g.agginitval)
                    FROM pg_aggregate g WHERE g.aggfnoid = p.oid) END)
FROM pg_proc p JOIN schemas n ON n.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM extensions e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
""",
    "triggers": """
SELECT 'trigger', r.full_name, r.full_name || '.' || t.tgname,
       pg_get_triggerdef(t.oid) || '; ' || t.tgenabled::text
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid 
WHERE NOT t.tgisinternal AND t.tgname NOT LIKE '!lastgood%'
UNION ALL
SELECT 'event trigger', '', evtname,
       concat_ws(' ', evtevent, evtfoid::regprocedure, evtenabled, evttags::text)
FROM pg_event_trigger e WHERE NOT EXISTS
    (SELECT FROM extensions x WHERE x.classid = 'pg_event_trigger'::regclass AND x.objid = e.oid)
""",
    "rules": """
SELECT 'rule', r.full_name, r.full_name || '.' || w.rulename,
       pg_get_ruledef(w.oid) || '; ' || w.ev_enabled::text
FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
""",
    "types": f"""
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, '', n.nspname || '.' || t.typname,
       concat_ws('; ', 'owner ' || pg_get_userbyid(t.typowner),
           'grants ' || {_grants("t.typacl", "T", "t.typowner")},
           CASE t.typtype
             WHEN 'e' THEN 'enum ' || (SELECT string_agg(quote_literal(l.enumlabel), ', '
                                                         ORDER BY l.enumsortorder)
                                       FROM pg_enum l WHERE l.enumtypid = t.oid)
             WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod),
                CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault,
                CASE WHEN t.typcollation <> b.typcollation
                     THEN 'collate ' || t.typcollation::regcollation::text END)
             WHEN 'r' THEN 'range of ' || (SELECT format_type(g.rngsubtype, NULL) || ' ' || g.rngsubdiff
                                           FROM pg_range g WHERE g.rngtypid = t.oid)
             WHEN 'c' THEN 'composite' ELSE t.typtype::text END)
FROM pg_type t JOIN schemas n ON n.oid = t.typnamespace LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE (t.typtype IN ('e', 'd', 'r')
       OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
  AND NOT EXISTS (SELECT FROM extensions e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
""",
    "policies": """
SELECT 'policy', r.full_name, r.full_name || '.' || p.polname,
       concat_ws('; ', p.polcmd, p.polpermissive::text,
           'to ' || ARRAY(SELECT CASE WHEN o = 0 THEN 'public' ELSE pg_get_userbyid(o)::text END
                          FROM unnest(p.polroles) o ORDER BY 1)::text,
           'using ' || pg_get_expr(p.polqual, p.polrelid),
           'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p JOIN relations r ON r.oid = p.polrelid
""",
    "others": """
SELECT 'extension', '', e.extname, e.extversion || ' in ' || e.extnamespace::regnamespace::text
FROM pg_extension e WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT 'statistics', r.full_name, n.nspname || '.' || s.stxname, pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext s JOIN schemas n ON n.oid = s.stxnamespace JOIN relations r ON r.oid = s.stxrelid
UNION ALL
SELECT 'default grants', '', pg_get_userbyid(d.defaclrole) || ' ' || d.defaclobjtype::text || ' '
       || CASE WHEN d.defaclnamespace = 0 THEN '' ELSE d.defaclnamespace::regnamespace::text END,
       array_to_string(ARRAY(SELECT a::text COLLATE "C" FROM unnest(d.defaclacl) a ORDER BY 1), ' ')
FROM pg_default_acl d
UNION ALL
SELECT 'publication', '', p.pubname, concat_ws(' ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete,
       p.pubtruncate, p.pubviaroot, (
           SELECT string_agg(t.prrelid::regclass::text, ', ' ORDER BY t.prrelid::regclass::text)
           FROM pg_publication_rel t WHERE t.prpubid = p.oid))
FROM pg_publication p WHERE p.pubname !~ '^lastgood_[0-9a-f]{12}_[0-9a-f]{16}$'
""",
    "comments": """
SELECT 'comment', r.full_name, concat_ws('.', r.full_name, a.attname), d.description
FROM pg_description d JOIN relations r ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid
LEFT JOIN pg_attribute a ON d.objsubid > 0 AND a.attrelid = r.oid AND a.attnum = d.objsubid
""",
}
