ALTER TABLE "Usuario" DROP COLUMN zz_m0001_cooperativa_id;
ALTER TABLE "UsuarioRol" DROP COLUMN zz_m0001_usuario_id, DROP COLUMN zz_m0001_cooperativa_id;
