-- What has to be put right before anything is changed.
-- @check rol_concedido_dos_veces
SELECT usuario_id, rol_id, cooperativa_id FROM "UsuarioRol" WHERE cooperativa_id IS NOT NULL
GROUP BY usuario_id, rol_id, cooperativa_id HAVING count(*) > 1;

-- @check usuario_y_persona_de_otra_cooperativa warn
SELECT u.id FROM "Usuario" u JOIN "Persona" p ON p.id = u.persona_id
WHERE u.cooperativa_id IS DISTINCT FROM p.cooperativa_id;
