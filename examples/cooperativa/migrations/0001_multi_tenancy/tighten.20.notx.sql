ALTER TABLE "UsuarioRol" VALIDATE CONSTRAINT ur_membresia_fk;
ALTER TABLE "UsuarioRol" VALIDATE CONSTRAINT ur_global_o_membresia;
CREATE UNIQUE INDEX CONCURRENTLY ur_membresia_rol ON "UsuarioRol" (usuario_cooperativa_id, rol_id);
CREATE INDEX CONCURRENTLY ur_global ON "UsuarioRol" (usuario_id, rol_id) WHERE cooperativa_id IS NULL;
