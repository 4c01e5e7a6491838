-- @check trigger_que_falta
SELECT t.tabla, t.nombre
FROM (VALUES ('"Usuario"', 'sereno_0001'), ('"UsuarioCooperativa"', 'sereno_0001'),
             ('"UsuarioRol"', 'sereno_0001'), ('"UsuarioRol"', 'sereno_0001_global'),
             ('"UsuarioRolGlobal"', 'sereno_0001')) t (tabla, nombre)
WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.tabla::regclass AND g.tgname = t.nombre
                  AND g.tgenabled <> 'D');
