-- The row is only touched: the trigger fills it, the one way for live and for older rows.
UPDATE "UsuarioRol" SET usuario_cooperativa_id = NULL
WHERE id BETWEEN :lo AND :hi AND usuario_cooperativa_id IS NULL;
