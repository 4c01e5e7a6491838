-- The statements of the application before this migration.
-- @probe entrar
SELECT u.id, u.cooperativa_id, u.activo FROM "Usuario" u WHERE u.email = 'usuario1@example.org';
-- @probe roles_de_un_usuario
SELECT r.nombre, ur.cooperativa_id FROM "UsuarioRol" ur JOIN "Rol" r ON r.id = ur.rol_id
WHERE ur.usuario_id = 'u10';
-- @probe alta
INSERT INTO "Usuario" (id, cooperativa_id, email)
SELECT gen_random_uuid()::text, c.id, 'antes' || pg_current_xact_id() || '@example.org'
FROM "Cooperativa" c ORDER BY random() LIMIT 1;
-- @probe dar_rol
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id, cooperativa_id)
SELECT gen_random_uuid()::text, u.id, 'r1', u.cooperativa_id FROM "Usuario" u WHERE u.id = (SELECT id FROM "Usuario" WHERE email = 'antes' || pg_current_xact_id() || '@example.org');
-- @probe mover
UPDATE "Usuario" SET cooperativa_id = (SELECT id FROM "Cooperativa" ORDER BY random() LIMIT 1)
WHERE id = (SELECT id FROM "Usuario" WHERE email LIKE 'usuario%' ORDER BY random() LIMIT 1);
-- @probe desactivar
UPDATE "Usuario" SET activo = NOT activo
WHERE id = (SELECT id FROM "Usuario" WHERE email LIKE 'usuario%' ORDER BY random() LIMIT 1);
-- @probe dar_rol_global
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id)
SELECT gen_random_uuid()::text, id, 'r3' FROM "Usuario" WHERE email LIKE 'usuario%' ORDER BY random() LIMIT 1;
-- @probe cambiar_rol_global
UPDATE "UsuarioRol" SET rol_id = CASE rol_id WHEN 'r5' THEN 'r2' ELSE 'r5' END
WHERE id = (SELECT id FROM "UsuarioRol" WHERE cooperativa_id IS NULL ORDER BY random() LIMIT 1);
-- @probe quitar_rol_global
DELETE FROM "UsuarioRol"
WHERE id = (SELECT id FROM "UsuarioRol" WHERE cooperativa_id IS NULL ORDER BY random() LIMIT 1);
-- @probe borrar_roles_de_un_usuario
DELETE FROM "UsuarioRol" WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'antes' || pg_current_xact_id() || '@example.org');
-- @probe dar_rol_global_al_nuevo
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id) SELECT gen_random_uuid()::text, id, 'r3' FROM "Usuario" WHERE id = (SELECT id FROM "Usuario" WHERE email = 'antes' || pg_current_xact_id() || '@example.org');
-- @probe quitar_rol_global_al_nuevo
DELETE FROM "UsuarioRol" WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'antes' || pg_current_xact_id() || '@example.org');
-- @probe borrar_usuario
DELETE FROM "Usuario" WHERE id = (SELECT id FROM "Usuario" WHERE email = 'antes' || pg_current_xact_id() || '@example.org');
