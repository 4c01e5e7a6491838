-- Both shapes say the same, compared in both directions.
-- @check principal_distinto_de_usuario
SELECT coalesce(u.id, uc.usuario_id) FROM "Usuario" u
FULL JOIN (SELECT usuario_id, cooperativa_id, activo FROM "UsuarioCooperativa" WHERE es_principal) uc
  ON uc.usuario_id = u.id
WHERE uc.cooperativa_id IS DISTINCT FROM u.cooperativa_id
   OR uc.usuario_id IS NOT NULL AND uc.activo IS DISTINCT FROM u.activo;

-- @check rol_sin_membresia_o_cruzado
SELECT ur.id FROM "UsuarioRol" ur
LEFT JOIN "UsuarioCooperativa" uc ON uc.id = ur.usuario_cooperativa_id
WHERE (uc.usuario_id, uc.cooperativa_id) IS DISTINCT FROM
      (CASE WHEN ur.cooperativa_id IS NOT NULL THEN ur.usuario_id END, ur.cooperativa_id);

-- @check rol_global_sin_copia
SELECT ur.id FROM "UsuarioRol" ur
WHERE ur.cooperativa_id IS NULL AND NOT EXISTS (
  SELECT FROM "UsuarioRolGlobal" g WHERE g.usuario_id = ur.usuario_id AND g.rol_id = ur.rol_id);

-- @check copia_global_sin_rol
SELECT g.id FROM "UsuarioRolGlobal" g
WHERE NOT EXISTS (SELECT FROM "UsuarioRol" ur WHERE ur.usuario_id = g.usuario_id
                  AND ur.rol_id = g.rol_id AND ur.cooperativa_id IS NULL);

-- @check membresia_huerfana
SELECT uc.id FROM "UsuarioCooperativa" uc
LEFT JOIN "Usuario" u ON u.id = uc.usuario_id LEFT JOIN "Cooperativa" c ON c.id = uc.cooperativa_id
WHERE u.id IS NULL OR c.id IS NULL;

-- @same plan_de_usuario_por_email
EXPLAIN (COSTS OFF) SELECT id, activo FROM "Usuario" WHERE email = 'usuario1@example.org';
