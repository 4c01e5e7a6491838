ALTER TABLE "UsuarioRol" ADD CONSTRAINT ur_membresia_fk
  FOREIGN KEY (usuario_cooperativa_id) REFERENCES "UsuarioCooperativa" (id) NOT VALID;
ALTER TABLE "UsuarioRol" ADD CONSTRAINT ur_global_o_membresia
  CHECK ((cooperativa_id IS NULL) = (usuario_cooperativa_id IS NULL)) NOT VALID;
