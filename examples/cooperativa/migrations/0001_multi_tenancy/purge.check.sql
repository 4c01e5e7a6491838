-- @check rol_sin_membresia
SELECT ur.id FROM "UsuarioRol" ur
LEFT JOIN "UsuarioCooperativa" uc ON uc.id = ur.usuario_cooperativa_id WHERE uc.id IS NULL;

-- @check membresia_huerfana
SELECT uc.id FROM "UsuarioCooperativa" uc LEFT JOIN "Usuario" u ON u.id = uc.usuario_id
WHERE u.id IS NULL;
