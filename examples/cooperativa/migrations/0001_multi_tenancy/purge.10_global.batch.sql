DELETE FROM "UsuarioRol"
WHERE id BETWEEN :lo AND :hi AND usuario_cooperativa_id IS NULL;
