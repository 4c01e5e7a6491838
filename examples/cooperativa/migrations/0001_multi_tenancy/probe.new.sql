-- The statements of the application after this migration.
-- @probe entrar
SELECT u.id, uc.cooperativa_id, uc.activo FROM "Usuario" u
LEFT JOIN "UsuarioCooperativa" uc ON uc.usuario_id = u.id AND uc.es_principal
WHERE u.email = 'usuario1@example.org';
-- @probe roles_de_un_usuario
SELECT r.nombre, uc.cooperativa_id FROM "UsuarioCooperativa" uc
JOIN "UsuarioRol" ur ON ur.usuario_cooperativa_id = uc.id JOIN "Rol" r ON r.id = ur.rol_id
WHERE uc.usuario_id = 'u10';
-- @probe alta
INSERT INTO "Usuario" (id, email)
VALUES (gen_random_uuid()::text, 'nuevo' || pg_current_xact_id() || '@example.org');
-- @probe membresia_principal
INSERT INTO "UsuarioCooperativa" (usuario_id, cooperativa_id, es_principal) VALUES ((SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org'), 'c1', true);
-- @probe segunda_membresia
INSERT INTO "UsuarioCooperativa" (usuario_id, cooperativa_id) VALUES ((SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org'), 'c2');
-- @probe dejar_la_principal
UPDATE "UsuarioCooperativa" SET es_principal = false WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org') AND cooperativa_id = 'c1';
-- @probe otra_principal
UPDATE "UsuarioCooperativa" SET es_principal = true WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org') AND cooperativa_id = 'c2';
-- @probe dar_rol
INSERT INTO "UsuarioRol" (id, usuario_cooperativa_id, rol_id)
SELECT gen_random_uuid()::text, id, 'r1' FROM "UsuarioCooperativa" WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org');
-- @probe dar_rol_global
INSERT INTO "UsuarioRolGlobal" (usuario_id, rol_id) VALUES ((SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org'), 'r5');
-- @probe desactivar
UPDATE "UsuarioCooperativa" SET activo = NOT activo WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org') AND es_principal;
-- @probe quitar_rol_global
DELETE FROM "UsuarioRolGlobal"
WHERE id = (SELECT id FROM "UsuarioRolGlobal" ORDER BY random() LIMIT 1);
-- @probe rol_global_para_otro
INSERT INTO "UsuarioRolGlobal" (usuario_id, rol_id)
SELECT id, 'r4' FROM "Usuario" WHERE email LIKE 'usuario%' ORDER BY random() LIMIT 1
ON CONFLICT DO NOTHING;
-- @probe quitar_roles
DELETE FROM "UsuarioRol" WHERE usuario_cooperativa_id IN (
  SELECT id FROM "UsuarioCooperativa" WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org') AND cooperativa_id = 'c1');
-- @probe dejar_una_cooperativa
DELETE FROM "UsuarioCooperativa" WHERE usuario_id = (SELECT id FROM "Usuario" WHERE email = 'nuevo' || pg_current_xact_id() || '@example.org') AND cooperativa_id = 'c1';
