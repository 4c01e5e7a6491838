-- From here there is no way back. The check of cleanup has just found every global role copied.
DROP TRIGGER sereno_0001 ON "Usuario";
DROP TRIGGER sereno_0001 ON "UsuarioCooperativa";
DROP TRIGGER sereno_0001 ON "UsuarioRol";
DROP TRIGGER sereno_0001_global ON "UsuarioRol";
DROP TRIGGER sereno_0001 ON "UsuarioRolGlobal";
DROP FUNCTION sereno_0001_usuario();
DROP FUNCTION sereno_0001_membresia();
DROP FUNCTION sereno_0001_rol();
DROP FUNCTION sereno_0001_global();
DROP FUNCTION sereno_0001_copia_global();
ALTER TABLE "UsuarioRol" ALTER COLUMN zz_m0001_usuario_id DROP NOT NULL;
ALTER TABLE "UsuarioRol" DROP CONSTRAINT ur_global_o_membresia;
ALTER TABLE "UsuarioRol" ADD CONSTRAINT ur_con_membresia
  CHECK (usuario_cooperativa_id IS NOT NULL) NOT VALID;
