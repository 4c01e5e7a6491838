ALTER TABLE "UsuarioRol" VALIDATE CONSTRAINT ur_con_membresia;
