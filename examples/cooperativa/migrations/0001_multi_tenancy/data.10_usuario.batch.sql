-- FOR SHARE: a user that is being changed is waited for, and read as it is then.
INSERT INTO "UsuarioCooperativa" AS uc (usuario_id, cooperativa_id, es_principal, activo, fecha_ingreso)
SELECT u.id, u.cooperativa_id, true, coalesce(u.activo, true),
       coalesce(u.fecha_creacion AT TIME ZONE 'UTC', now())
FROM (SELECT id, cooperativa_id, activo, fecha_creacion FROM "Usuario"
      WHERE id BETWEEN :lo AND :hi AND cooperativa_id IS NOT NULL
      ORDER BY id FOR SHARE) u
ON CONFLICT (usuario_id, cooperativa_id) DO UPDATE
SET es_principal = true, activo = excluded.activo
WHERE (uc.es_principal, uc.activo) IS DISTINCT FROM (true, excluded.activo);
