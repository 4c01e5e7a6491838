-- Both shapes say the same, compared in both directions.
-- @check principal_distinto_de_usuario
SELECT coalesce(u.id, uc.usuario_id) FROM "Usuario" u
FULL JOIN (SELECT usuario_id, cooperativa_id, activo FROM "UsuarioCooperativa" WHERE es_principal) uc
  ON uc.usuario_id = u.id
WHERE uc.cooperativa_id IS DISTINCT FROM u.zz_m0001_cooperativa_id
   OR uc.usuario_id IS NOT NULL AND uc.activo IS DISTINCT FROM u.activo;

-- @check rol_sin_membresia_o_cruzado once
SELECT ur.id FROM "UsuarioRol" ur
LEFT JOIN "UsuarioCooperativa" uc ON uc.id = ur.usuario_cooperativa_id
WHERE (uc.usuario_id, uc.cooperativa_id) IS DISTINCT FROM
      (CASE WHEN ur.zz_m0001_cooperativa_id IS NOT NULL THEN ur.zz_m0001_usuario_id END, ur.zz_m0001_cooperativa_id);

-- @check rol_global_sin_copia
SELECT ur.id FROM "UsuarioRol" ur
WHERE ur.zz_m0001_cooperativa_id IS NULL AND NOT EXISTS (
  SELECT FROM "UsuarioRolGlobal" g WHERE g.usuario_id = ur.zz_m0001_usuario_id AND g.rol_id = ur.rol_id);

-- @check copia_global_sin_rol
SELECT g.id FROM "UsuarioRolGlobal" g
WHERE NOT EXISTS (SELECT FROM "UsuarioRol" ur WHERE ur.zz_m0001_usuario_id = g.usuario_id
                  AND ur.rol_id = g.rol_id AND ur.zz_m0001_cooperativa_id IS NULL);

-- @check membresia_huerfana once
SELECT uc.id FROM "UsuarioCooperativa" uc
LEFT JOIN "Usuario" u ON u.id = uc.usuario_id LEFT JOIN "Cooperativa" c ON c.id = uc.cooperativa_id
WHERE u.id IS NULL OR c.id IS NULL;
