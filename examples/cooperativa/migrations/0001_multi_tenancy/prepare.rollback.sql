-- The rows of the two tables are kept beside (archive in migration.toml).
DROP TRIGGER IF EXISTS sereno_0001_global ON "UsuarioRol";
DROP TRIGGER IF EXISTS sereno_0001 ON "UsuarioRol";
DROP TRIGGER IF EXISTS sereno_0001 ON "Usuario";
DROP TABLE "UsuarioRolGlobal";
ALTER TABLE "UsuarioRol" DROP COLUMN usuario_cooperativa_id;
DROP TABLE "UsuarioCooperativa";
DROP FUNCTION sereno_0001_usuario();
DROP FUNCTION sereno_0001_membresia();
DROP FUNCTION sereno_0001_rol();
DROP FUNCTION sereno_0001_global();
DROP FUNCTION sereno_0001_copia_global();
