-- Made-up rows: users with and without a cooperative, inactive ones, roles of another cooperative,
-- global roles.
INSERT INTO "Cooperativa" (id, nombre) SELECT 'c' || n, 'Cooperativa ' || n FROM generate_series(1, 6) n;
INSERT INTO "Persona" (id, cooperativa_id, nombre, documento)
SELECT 'p' || n, 'c' || 1 + n % 6, 'Persona ' || n, 'doc' || n FROM generate_series(1, 300) n;
INSERT INTO "Usuario" (id, cooperativa_id, persona_id, email, activo)
SELECT 'u' || n, CASE WHEN n % 20 <> 0 THEN 'c' || 1 + n % 6 END, CASE WHEN n <= 300 THEN 'p' || n END,
       'usuario' || n || '@example.org', n % 7 <> 0
FROM generate_series(1, 400) n;
INSERT INTO "Rol" (id, nombre) SELECT 'r' || n, 'rol ' || n FROM generate_series(1, 5) n;
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id, cooperativa_id)
SELECT 'ur' || n, 'u' || 1 + n % 400, 'r' || 1 + n / 400, 'c' || 1 + (1 + n % 400) % 6
FROM generate_series(0, 599) n;
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id, cooperativa_id)
SELECT 'ux' || n, 'u' || n, 'r4', 'c' || 1 + (n + 2) % 6 FROM generate_series(1, 40) n;
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id)
SELECT 'ug' || n, 'u' || n * 10, 'r5' FROM generate_series(1, 40) n;
